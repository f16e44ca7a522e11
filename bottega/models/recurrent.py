"""Recurrent language models: a state that is carried from token to token is all they remember.

Three cells, each its paper's equations: Elman (1990), the LSTM of Hochreiter & Schmidhuber (1997) with the
forget gate of Gers et al. (2000), and the GRU of Cho et al. (2014). Mikolov et al. (2010) made a language
model of the first, Sundermeyer et al. (2012) of the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.folders import read_model, write_model
from bottega.nn.loss import Loss, cross_entropy_of_head

MODEL_TYPE = "bottega-recurrent"
_AT_ONCE = 2048  # tokens of a document that are scored in one pass


@dataclass(frozen=True)
class RecurrentConfig:
    """The shape of a recurrent language model; raises InputError where a value makes no sense."""

    vocab_size: int
    cell: Literal["rnn", "lstm", "gru"] = "lstm"
    n_layer: int = 2
    n_embd: int = 256
    n_hidden: int = 256
    """Width of the state; where it differs from n_embd a matrix leads back."""
    context_length: int = 64
    """Tokens through which gradients flow back; the state itself reaches as far as it can."""
    dropout: float = 0.0
    tied: bool = True
    """The output matrix is the embedding's (Press & Wolf 2017)."""
    streams: int = 0
    """Rows whose state training carries from step to step; 0: none."""

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise InputError(f"cell is {self.cell!r}; expected one of {', '.join(CELLS)}")
        for name in ("vocab_size", "n_layer", "n_embd", "n_hidden", "context_length"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.streams < 0 or not 0 <= self.dropout < 1:
            raise InputError(
                f"streams {self.streams}, dropout {self.dropout}: expected 0 or more, and 0 up to 1"
            )


class Cell(nn.Module):
    """One recurrent layer: what the inputs give is computed for all time steps at once, the rest in turn.

    A state is a tensor (part, row, width): h, and of the LSTM also c.
    """

    gates, parts = 1, 1
    recurrent_bias = False

    def __init__(self, n_in: int, n_hidden: int) -> None:
        super().__init__()
        self.input = nn.Linear(n_in, self.gates * n_hidden)
        self.recurrent = nn.Linear(n_hidden, self.gates * n_hidden, bias=self.recurrent_bias)
        self.init_weights()

    def init_weights(self) -> None:
        """Inputs uniform to ±1/√n; each recurrent map orthogonal (Saxe et al. 2014); biases 0."""
        bound = self.input.in_features**-0.5
        nn.init.uniform_(self.input.weight, -bound, bound)
        nn.init.zeros_(self.input.bias)
        for gate in self.recurrent.weight.chunk(self.gates):
            nn.init.orthogonal_(gate)
        if self.recurrent_bias:
            nn.init.zeros_(self.recurrent.bias)

    def forward(
        self, x: Float[Tensor, "time row n_in"], state: Float[Tensor, "part row width"]
    ) -> tuple[Float[Tensor, "time row width"], Float[Tensor, "part row width"]]:
        """The states h of all time steps, and the whole state after the last."""
        now, out = state.unbind(0), []
        for a in self.input(x).unbind(0):
            now = self.step(a, *now)
            out.append(now[0])
        return torch.stack(out), torch.stack(now)

    def step(self, a: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The next state, where `a` = W x + b of all gates, (row, gates · width)."""
        raise NotImplementedError


class RNN(Cell):
    """h' = tanh(W x + U h + b) (Elman 1990)."""

    def step(self, a: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Elman's equation."""
        (h,) = state
        return (torch.tanh(torch.addmm(a, h, self.recurrent.weight.T)),)


class LSTM(Cell):
    """Gates i, f, o and candidate g, each W x + U h + b, bent: c' = f c + i g and h' = o tanh(c')."""

    gates, parts = 4, 2

    def init_weights(self) -> None:
        """As all cells; the forget gate begins open, by a bias of 1 (Gers et al. 2000, section 4)."""
        super().init_weights()
        with torch.no_grad():
            self.input.bias.chunk(4)[1].fill_(1.0)

    def step(self, a: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Gers et al. (2000), equations 3 to 9, without peepholes."""
        h, c = state
        i, f, g, o = torch.addmm(a, h, self.recurrent.weight.T).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def forward(
        self, x: Float[Tensor, "time row n_in"], state: Float[Tensor, "part row width"]
    ) -> tuple[Float[Tensor, "time row width"], Float[Tensor, "part row width"]]:
        """The same steps in torch's compiled loop, which is twice as fast."""
        weights = [
            self.input.weight,
            self.recurrent.weight,
            self.input.bias,
            torch.zeros_like(self.input.bias),
        ]
        h, c = state.contiguous()[:, None].unbind(0)
        out, h, c = torch.lstm(x, (h, c), weights, True, 1, 0.0, torch.is_grad_enabled(), False, False)
        return out, torch.cat([h, c])


class GRU(Cell):
    """Gates r and z; h' = (1 - z) n + z h, where n = tanh(W x + b + r (U h + b')) (Cho et al. 2014).

    The reset gate acts behind the product with U, as in cuDNN and torch; in the paper, before it.
    """

    gates = 3
    recurrent_bias = True

    def step(self, a: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Cho et al. (2014), equations 5 to 8."""
        (h,) = state
        width = h.shape[-1]
        u = self.recurrent(h)
        r, z = (a[:, : 2 * width] + u[:, : 2 * width]).sigmoid().chunk(2, -1)
        n = torch.tanh(a[:, 2 * width :] + r * u[:, 2 * width :])
        return (n + z * (h - n),)


CELLS: dict[str, type[Cell]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


class Recurrent(nn.Module):
    """Cells upon one another, with dropout between them but not along time (Zaremba et al. 2014)."""

    def __init__(self, cell: str, n_layer: int, n_in: int, n_hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_hidden, self.dropout = n_hidden, dropout
        self.cells = nn.ModuleList(
            CELLS[cell](n_in if i == 0 else n_hidden, n_hidden) for i in range(n_layer)
        )

    def forward(
        self, x: Float[Tensor, "time row n_in"], state: Float[Tensor, "layer part row width"] | None = None
    ) -> tuple[Float[Tensor, "time row width"], Float[Tensor, "layer part row width"]]:
        """The top cell's states at all times, and all states after the last; `None` begins with zeros."""
        state = self.zeros(x) if state is None else state
        after = []
        for cell, before in zip(self.cells, state, strict=True):
            x, now = cell(x if cell is self.cells[0] else self._drop(x), before)
            after.append(now)
        return x, torch.stack(after)

    def zeros(self, x: Float[Tensor, "time row n_in"]) -> Float[Tensor, "layer part row width"]:
        """The state before anything was read, for the rows of `x`."""
        return x.new_zeros(len(self.cells), self.parts, x.shape[1], self.n_hidden)

    @property
    def parts(self) -> int:
        """Tensors that make up a cell's state: 2 of the LSTM, else 1."""
        cell = self.cells[0]
        assert isinstance(cell, Cell)
        return cell.parts

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

    def matrix_parameters(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """The matrices, each with the rows of the gates that it stacks."""
        for cell in self.cells:
            assert isinstance(cell, Cell)
            for map in (cell.input, cell.recurrent):
                yield map.weight, (self.n_hidden,) * cell.gates


class RecurrentLM(nn.Module):
    """A recurrent language model; called on token ids it gives logits.

    Truncated back-propagation through time (Williams & Peng 1990): a step's gradient flows back through its
    own `context_length` tokens, while the state goes on from where the step before left it. Those states are
    the buffer `carried`, a row for each stream of the batch, so a checkpoint holds them.
    """

    carried: Tensor

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        self.tok_emb = nn.Embedding(config.vocab_size, config.n_embd)
        self.layers = Recurrent(config.cell, config.n_layer, config.n_embd, config.n_hidden, config.dropout)
        self.down = nn.Linear(config.n_hidden, config.n_embd) if config.n_hidden != config.n_embd else None
        if not config.tied:
            self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
            nn.init.normal_(self.head.weight, std=config.n_embd**-0.5)
        nn.init.normal_(self.tok_emb.weight, std=config.n_embd**-0.5)
        shape = (config.streams, config.n_layer, self.layers.parts, config.n_hidden)
        self.register_buffer("carried", torch.zeros(shape))

    @property
    def head_weight(self) -> Float[Tensor, "vocabulary width"]:
        """The output matrix: its own, or the embedding's."""
        return self.tok_emb.weight if self.config.tied else self.head.weight

    def hidden(
        self, ids: Int[Tensor, "row time"], state: Float[Tensor, "layer part row width"] | None = None
    ) -> tuple[Float[Tensor, "row time embd"], Float[Tensor, "layer part row width"]]:
        """What the head reads after each token, and the state after the last; `ids` go on from `state`."""
        x = self.layers._drop(self.tok_emb(ids.T))
        x, state = self.layers(x, state)
        x = self.layers._drop(x)
        x = x if self.down is None else self.down(x)
        return x.transpose(0, 1), state

    def forward(self, ids: Int[Tensor, "row time"]) -> Float[Tensor, "row time vocabulary"]:
        """Logits of the next token after each position, from an empty state."""
        return F.linear(self.hidden(ids)[0], self.head_weight)

    def loss(self, batch: Mapping[str, Tensor]) -> Loss:
        """Cross-entropy in nats of `targets` (row × time, IGNORE where nothing is scored) after `ids`.

        Where the batch names its `rows`, their states go on from the batch before, but for those that are
        `fresh`, and are kept for the next.
        """
        state = None
        if "rows" in batch:
            before = self.carried[batch["rows"]] * ~batch["fresh"][:, None, None, None]
            state = before.permute(1, 2, 0, 3).to(self.tok_emb.weight.dtype)
        hidden, after = self.hidden(batch["ids"], state)
        if "rows" in batch:
            self.carried[batch["rows"]] = after.detach().permute(2, 0, 1, 3).to(self.carried.dtype)
        return cross_entropy_of_head(hidden.flatten(0, 1), self.head_weight, batch["targets"].flatten())

    def step(self, batch: Mapping[str, Tensor], context: Any) -> Loss:
        """One update of everything; then every process knows the states of all, as a checkpoint must."""
        loss: Loss = context.optimize("model", self.loss, batch)
        if context.world.size > 1 and "rows" in batch:
            mine = torch.zeros_like(self.carried)
            mine[batch["rows"]] = self.carried[batch["rows"]]
            context.world.add_up(mine)
            self.carried.copy_(mine)
        return loss

    @torch.no_grad()
    def log_probs(self, ids: Sequence[int], end_of_text: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Nats of each token of a document and of its end, each after all that went before it; exact."""
        stream = torch.tensor([end_of_text, *ids, end_of_text], device=self.tok_emb.weight.device)
        training, state, nats = self.training, None, []
        self.eval()
        try:
            for start in range(0, len(stream) - 1, _AT_ONCE):
                piece = stream[start : start + _AT_ONCE + 1]
                hidden, state = self.hidden(piece[None, :-1], state)
                logits = F.linear(hidden[0], self.head_weight).float()
                nats.append(-F.cross_entropy(logits, piece[1:], reduction="none").double().cpu())
        finally:
            self.train(training)
        return torch.cat(nats).numpy()

    def matrix_parameters(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """The matrices between embedding and head, each with the rows of the maps that it stacks."""
        yield from self.layers.matrix_parameters()
        if self.down is not None:
            yield self.down.weight, (self.config.n_embd,)

    def n_parameters(self) -> int:
        """All parameters, a tied matrix counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def flops_per_token(self) -> float:
        """Training FLOPs a token: 6 × (matrices and head); look-ups are free."""
        matrices = sum(parameter.numel() for parameter, _ in self.matrix_parameters())
        return 6.0 * (matrices + self.config.vocab_size * self.config.n_embd)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors."""
        write_model(folder, MODEL_TYPE, self.config, self.state_dict())

    @classmethod
    def from_pretrained(cls, path: str | Path) -> RecurrentLM:
        """Load a folder, for use; InputError where it is damaged or holds another kind of model."""
        return read_model(path, MODEL_TYPE, RecurrentConfig, cls)
