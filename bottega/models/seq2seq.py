"""Sequence to sequence with recurrent networks: without attention, with Bahdanau's, with Luong's.

An encoder reads the source from both ends, a decoder writes the target. Without attention all that the
decoder learns of the source is its first state (Sutskever et al. 2014; Cho et al. 2014). Bahdanau et al.
(2015) let it look back at every step: before the step, with an additive score; Luong et al. (2015) after it,
with a product.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.folders import read_model, write_model
from bottega.models.recurrent import CELLS, Recurrent
from bottega.nn.dropout import dropout
from bottega.nn.loss import IGNORE, Loss, cross_entropy_of_head

MODEL_TYPE = "bottega-seq2seq"
Attention = Literal["none", "additive", "dot", "general"]


@dataclass(frozen=True)
class Seq2SeqConfig:
    """The shape of a recurrent translator; raises InputError for senseless values.

    `vocab_size` counts the tokens that both languages share; `context_length` is how many tokens either side
    may have, <eos> among them; `pad`, `bos` and `eos` are ids.
    """

    vocab_size: int = 10_000
    context_length: int = 256
    cell: Literal["rnn", "lstm", "gru"] = "gru"
    n_layer: int = 1
    """Of the encoder and of the decoder."""
    n_embd: int = 128
    n_hidden: int = 384
    """Width of the decoder's state, and of both directions of the encoder together."""
    attention: Attention = "none"
    """additive: Bahdanau et al. (2015); dot, general: Luong et al. (2015)."""
    dropout: float = 0.3
    label_smoothing: float = 0.1
    pad: int = 0
    bos: int = 1
    eos: int = 2
    source_language: str = ""
    target_language: str = ""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "n_layer", "n_embd", "n_hidden"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.n_hidden % 2:
            raise InputError(f"n_hidden {self.n_hidden} is odd; the encoder's two directions share it")
        for name, allowed in (("cell", CELLS), ("attention", get_args(Attention))):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(allowed)}")
        for name in ("dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}")
        ids = (self.pad, self.bos, self.eos)
        if len(set(ids)) < 3 or not all(0 <= id < self.vocab_size for id in ids):
            raise InputError(f"pad, bos and eos must be three ids below {self.vocab_size}, not {ids}")

    def build(self) -> Seq2Seq:
        """A model of this shape, freshly drawn."""
        return Seq2Seq(self)


@dataclass(frozen=True)
class Memory:
    """What was read: the encoder's `states`, their `keys` for the score, and which of them are tokens.

    A sentence's entry serves all of its rows, which are neighbours and equally many in every sentence.
    """

    states: Float[Tensor, "batch s width"]
    keys: Float[Tensor, "batch s width"]
    mask: Bool[Tensor, "batch s"]


class Additive(nn.Module):
    """score(q, h) = v · tanh(W q + U h) (Bahdanau et al. 2015, appendix A.1.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)

    def scores(
        self, q: Float[Tensor, "batch t width"], keys: Float[Tensor, "batch s width"]
    ) -> Float[Tensor, "batch t s"]:
        """Of every query with every key."""
        out: Tensor = self.score(torch.tanh(self.query(q)[:, :, None] + keys[:, None]))
        return out[..., 0]


class Multiplicative(nn.Module):
    """score(q, h) = q · W h, or with "dot" q · h (Luong et al. 2015, equation 8)."""

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        self.key = nn.Linear(width, width, bias=False) if kind == "general" else nn.Identity()

    def scores(
        self, q: Float[Tensor, "batch t width"], keys: Float[Tensor, "batch s width"]
    ) -> Float[Tensor, "batch t s"]:
        """Of every query with every key."""
        return q @ keys.transpose(1, 2)


class Encoder(nn.Module):
    """Layers of two networks each, one from either end (Schuster & Paliwal 1997)."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.dropout, half = config.dropout, config.n_hidden // 2
        widths = [config.n_embd, *[config.n_hidden] * (config.n_layer - 1)]
        self.forth = nn.ModuleList(Recurrent(config.cell, 1, width, half) for width in widths)
        self.back = nn.ModuleList(Recurrent(config.cell, 1, width, half) for width in widths)

    def forward(
        self, x: Float[Tensor, "s batch embd"], mask: Bool[Tensor, "batch s"]
    ) -> tuple[Float[Tensor, "s batch width"], Float[Tensor, "batch width"]]:
        """The states at each token, and the two that have read everything. Padding stands on the right."""
        lengths, time = mask.sum(1), torch.arange(len(x), device=x.device)[:, None]
        # Each row is turned round within its own length, so that no network reads padding before a token.
        turned = torch.where(time < lengths, lengths - 1 - time, time)
        for number, (forth, back) in enumerate(zip(self.forth, self.back, strict=True)):
            x = dropout(x, self.dropout, self.training) if number else x
            right, _ = forth(x)
            left, _ = back(_taken(x, turned))
            x = torch.cat([right, _taken(left, turned)], -1)
        read = torch.cat([right[lengths - 1, torch.arange(len(lengths))], x[0, :, right.shape[-1] :]], -1)
        return x, read


class Seq2Seq(nn.Module):
    """Encoder and decoder; `loss` trains them, `begin` and `next` write token by token.

    Source, target and output share one embedding, as in the Transformer beside it.
    """

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.config, width = config, config.n_hidden
        self.embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.encoder = Encoder(config)
        looks_before = config.attention == "additive"
        n_in = config.n_embd + (width if looks_before else 0)
        self.decoder = Recurrent(config.cell, config.n_layer, n_in, width, config.dropout)
        self.bridge = nn.Linear(width, config.n_layer * self.decoder.parts * width)
        self.attend: Additive | Multiplicative | None = None
        if config.attention != "none":
            self.attend = Additive(width) if looks_before else Multiplicative(width, config.attention)
        self.out = nn.Linear(width if self.attend is None else 2 * width, config.n_embd)
        nn.init.normal_(self.embedding.weight, std=config.n_embd**-0.5)

    def read(
        self, source: Int[Tensor, "batch s"], source_mask: Bool[Tensor, "batch s"]
    ) -> tuple[Memory, Float[Tensor, "layer part batch width"]]:
        """What the encoder makes of the source, and the decoder's first state (layer, part, row, width).

        That is tanh(W h + b) of what has read everything (Bahdanau et al. 2015, appendix A.2.2).
        """
        x, read = self.encoder(self._embed(source), source_mask)
        states = x.transpose(0, 1)
        memory = Memory(states, states if self.attend is None else self.attend.key(states), source_mask)
        shape = (len(source), self.config.n_layer, self.decoder.parts, self.config.n_hidden)
        return memory, torch.tanh(self.bridge(read)).view(shape).permute(1, 2, 0, 3)

    def write(
        self, target: Int[Tensor, "rows t"], memory: Memory, state: Float[Tensor, "layer part rows width"]
    ) -> tuple[Float[Tensor, "rows t embd"], Float[Tensor, "rows t s"], Tensor]:
        """What the output matrix reads after each token, where the model looked, and the state at the end."""
        x = self._embed(target)
        if isinstance(self.attend, Additive):
            steps, looks, contexts = [], [], []
            # What it looks for is the state before the step, so the steps cannot be taken together.
            for token in x:
                context, weights = self._look(state[-1, 0, :, None], memory)
                y, state = self.decoder(torch.cat([token, context[:, 0]], -1)[None], state)
                steps.append(y[0])
                contexts.append(context[:, 0])
                looks.append(weights[:, 0])
            y, context, weights = (torch.stack(parts, 1) for parts in (steps, contexts, looks))
            y = torch.cat([y, context], -1)
        else:
            y, state = self.decoder(x, state)
            y = y.transpose(0, 1)
            context, weights = self._look(y, memory)
            y = y if self.attend is None else torch.cat([y, context], -1)
        return self._drop(torch.tanh(self.out(self._drop(y)))), weights, state

    def _look(
        self, q: Float[Tensor, "rows t width"], memory: Memory
    ) -> tuple[Float[Tensor, "rows t width"], Float[Tensor, "rows t s"]]:
        """The mean of the encoder's states by softmax of the scores, and these weights."""
        if self.attend is None:
            return q, q.new_zeros(*q.shape[:2], memory.mask.shape[1])
        rows, together = q.shape[:2], q.reshape(len(memory.mask), -1, q.shape[-1])
        scores = self.attend.scores(together, memory.keys).masked_fill(~memory.mask[:, None], -torch.inf)
        weights = scores.float().softmax(-1).to(q.dtype)
        return (weights @ memory.states).view(*rows, -1), weights.view(*rows, -1)

    def forward(
        self,
        source: Int[Tensor, "batch s"],
        source_mask: Bool[Tensor, "batch s"],
        target: Int[Tensor, "batch t"],
    ) -> Float[Tensor, "batch t vocabulary"]:
        """Logits of the target token after each position."""
        return F.linear(self.write(target, *self.read(source, source_mask))[0], self.embedding.weight)

    def loss(self, batch: Mapping[str, Tensor]) -> Loss:
        """Cross-entropy in nats of `targets`, smoothed in training, plain in evaluation."""
        hidden, _, _ = self.write(batch["target"], *self.read(batch["source"], batch["source_mask"]))
        scored = batch["targets"] != IGNORE
        smoothing = self.config.label_smoothing if self.training else 0.0
        return cross_entropy_of_head(
            hidden[scored], self.embedding.weight, batch["targets"][scored], smoothing
        )

    @torch.no_grad()
    def attention(
        self, source_ids: Int[Tensor, " s"], target_ids: Int[Tensor, " t"]
    ) -> dict[str, Float[Tensor, "1 1 t s"]]:
        """Where the decoder looks after each of `target_ids` (<bos> first): "cross", one layer, one head.

        Raises InputError of a model without attention.
        """
        if self.attend is None:
            raise InputError("this model has no attention: all it knows of the source is one state")
        mask = torch.ones_like(source_ids, dtype=torch.bool)[None]
        _, weights, _ = self.write(target_ids[None], *self.read(source_ids[None], mask))
        return {"cross": weights[None]}

    def begin(self, source: Int[Tensor, "batch s"], source_mask: Bool[Tensor, "batch s"]) -> Seq2SeqState:
        """Read the sources; the state of as many rows that have written nothing yet."""
        return Seq2SeqState(*self.read(source, source_mask))

    def next(self, ids: Int[Tensor, " rows"], state: Seq2SeqState) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the token after `ids`, one a row; <bos> is the first. The state moves on by one."""
        hidden, _, state.recurrent = self.write(ids[:, None], state.memory, state.recurrent)
        return F.linear(hidden[:, 0], self.embedding.weight)

    def matrix_parameters(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        """The hidden matrices, each with the rows of the maps that it stacks."""
        width = self.config.n_hidden
        for network in (*self.encoder.forth, *self.encoder.back, self.decoder):
            assert isinstance(network, Recurrent)
            yield from network.matrix_parameters()
        yield self.bridge.weight, (width,) * (self.config.n_layer * self.decoder.parts)
        if isinstance(self.attend, Additive):
            yield self.attend.query.weight, (width,)
        if self.attend is not None and isinstance(self.attend.key, nn.Linear):
            yield self.attend.key.weight, (width,)
        yield self.out.weight, (self.config.n_embd,)

    def n_parameters(self) -> int:
        """All parameters, the shared matrix counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def flops_per_token(self) -> float:
        """Training FLOPs a token, for as many source tokens as target tokens: 3 × (matrices and output)."""
        matrices = sum(parameter.numel() for parameter, _ in self.matrix_parameters())
        return 3.0 * (matrices + self.config.vocab_size * self.config.n_embd)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors."""
        write_model(folder, MODEL_TYPE, self.config, self.state_dict())

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Seq2Seq:
        """Load a folder, for use; InputError where it is damaged or holds another kind of model."""
        return read_model(path, MODEL_TYPE, Seq2SeqConfig, cls)

    def _embed(self, ids: Int[Tensor, "batch time"]) -> Float[Tensor, "time batch embd"]:
        return self._drop(self.embedding(ids.T))

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.config.dropout, self.training)


class Seq2SeqState:
    """The decoder's state of every row, and what was read, kept once a sentence."""

    def __init__(self, memory: Memory, recurrent: Float[Tensor, "layer part row width"]) -> None:
        self.memory, self.recurrent = memory, recurrent

    def select(self, rows: Int[Tensor, " n"]) -> None:
        """Make row `i` what row `rows[i]` was; rows of a sentence stay neighbours, and are equally many."""
        memory = self.memory
        beside = self.recurrent.shape[2] // len(memory.mask)
        stay = torch.unique_consecutive(rows // beside)
        if len(stay) < len(memory.mask):
            self.memory = Memory(memory.states[stay], memory.keys[stay], memory.mask[stay])
        self.recurrent = self.recurrent[:, :, rows]


def _taken(x: Float[Tensor, "s batch width"], time: Int[Tensor, "s batch"]) -> Float[Tensor, "s batch width"]:
    """Of every row the states at these times, in this order."""
    return x.gather(0, time[:, :, None].expand_as(x))
