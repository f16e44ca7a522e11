"""Weights for serving: fp32, bf16, int8 and int4 linear layers, packed in the order in which they are read.

| kind | weights | activations |
|------|---------|-------------|
| fp32 | as they are | fp32 |
| bf16 | rounded to bf16 | rounded to bf16, sums in fp32 |
| int8 | a scale for each output channel | int8, a scale for each token and group of 32 inputs |
| int4 | a bf16 scale for each output channel and group of 32 inputs | as int8 |

On a CPU the kernels of this folder multiply, and a row's result is the same to the last bit in any batch. On
other devices, and without a C++ compiler, torch does: the weights stay as small, and are expanded a layer at
a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.engine import kernels
from bottega.engine.quantisation import KINDS, PANEL, Kind, dequantise, panels, quantise, whole_panels
from bottega.models.gpt import GPT, Block

_EXACT_ROWS = 16  # torch's products are the same bits for a row only where their shapes are the same


def pack(model: GPT, kind: Kind, exact: bool) -> nn.Module:
    """Replace the blocks' linear layers and the embedding of `model` in place; return its packed head.

    The head maps (n, width) to logits (n, vocabulary) in fp32. All else computes in fp32. The old weights are
    freed where the caller holds no other reference. `exact`: a row's bits do not depend on the other rows.
    """
    head = PackedLinear(model.head_weight, None, kind, exact)
    if not model.config.tied:
        model.head = nn.Identity()  # type: ignore[assignment]
    for block in model.blocks:
        assert isinstance(block, Block)
        _pack_block(block, kind, exact)
    table = model.tok_emb.weight.detach().to(torch.float32 if kind == "fp32" else torch.bfloat16)
    model.tok_emb = nn.Identity()  # type: ignore[assignment]
    for parameter in model.parameters():  # norms and positions: few, and they keep the residuals in fp32
        parameter.data = parameter.data.float()
    model.tok_emb = Embedding(table)  # type: ignore[assignment]
    return head


def _pack_block(block: Block, kind: Kind, exact: bool) -> None:
    """Swap a block's linear layers; norms and activations go into the layers that read what they make."""

    def packed(linear: nn.Linear, before: nn.Module | None = None) -> nn.Module:
        return PackedLinear(linear.weight, linear.bias, kind, exact, before)

    attn, mlp = block.attn, block.mlp
    attn.out = packed(attn.out)  # type: ignore[assignment]
    norm1, norm2 = (None, None) if block.post_norm else (block.norm1, block.norm2)
    attn.qkv = packed(attn.qkv, norm1)  # type: ignore[assignment]
    block.mlp = nn.Sequential(packed(mlp.up, norm2), packed(mlp.down, ACTIVATIONS[mlp.kind]()))  # type: ignore[assignment]
    if not block.post_norm:
        block.norm1, block.norm2 = nn.Identity(), nn.Identity()


class SwiGLU(nn.Module):
    """silu(gate) · values (Shazeer 2020), of (..., 2 n) with the gate first."""

    def forward(self, x: Tensor) -> Tensor:
        """Half the width."""
        gate, values = x.chunk(2, -1)
        return F.silu(gate) * values


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, "tanh"),
    "swiglu": SwiGLU,
}


class Embedding(nn.Module):
    """A table of token vectors: ids (...) to fp32 (..., width)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, ids: Tensor) -> Tensor:
        """Look the tokens up."""
        return F.embedding(ids, self.weight).float()


class PackedLinear(nn.Module):
    """y = x Wᵀ + b with `weight` (out, in) kept as `kind`: (..., in) to fp32 (..., out).

    `before` is a norm or an activation that x goes through first, in the same pass of the kernel.

    The tensors are no buffers: they were packed for one device and precision; no later cast may touch them.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, kind: Kind, exact: bool, before: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.before = before
        self.kind, self.exact, self._kind = kind, exact, KINDS.index(kind)
        self.n_out, self.n_in = weight.shape
        self.library = kernels.library() if weight.device.type == "cpu" else None
        words, scales = quantise(weight.detach(), kind)
        bias = None if bias is None else bias.detach().float()
        if self.library is not None:
            words = panels(words)
            scales = whole_panels(scales)
            if kind == "int4":  # [panel][group][channel]
                scales = scales.view(-1, PANEL, scales.shape[1]).transpose(1, 2).contiguous()
            bias = None if bias is None else whole_panels(bias)
        self.words, self.scales, self.bias = words, scales, bias
        norm, self._step, self._epsilon = _step(before)
        self._held = (words, scales, bias, *norm)
        self._pointers = [None if tensor is None else tensor.data_ptr() for tensor in self._held]

    def forward(self, x: Tensor) -> Tensor:
        """Multiply every row."""
        if self.library is None:
            return self._by_torch(x)
        x = x.float().contiguous()
        y = torch.empty(*x.shape[:-1], self.n_out)
        self.library.linear(
            x.data_ptr(), *self._pointers, y.data_ptr(),
            y.numel() // self.n_out, self.n_in, self.n_out, self._epsilon, self._step, self._kind,
            torch.get_num_threads(),
        )  # fmt: skip
        return y

    def _by_torch(self, x: Tensor) -> Tensor:
        dtype = torch.bfloat16 if x.device.type == "cuda" and self.kind != "fp32" else torch.float32
        weight = dequantise(self.words, self.scales, self.kind, self.n_in).to(dtype)
        x = x if self.before is None else self.before(x)
        rows = x.reshape(-1, self.n_in).to(dtype)
        if self.exact:
            tiles = F.pad(rows, (0, 0, 0, -len(rows) % _EXACT_ROWS)).view(-1, _EXACT_ROWS, self.n_in)
            y = torch.cat([tile @ weight.T for tile in tiles])[: len(rows)]
        else:
            y = rows @ weight.T
        y = y.float() if self.bias is None else y.float() + self.bias
        return y.view(*x.shape[:-1], self.n_out)


def _step(before: nn.Module | None) -> tuple[tuple[Tensor | None, Tensor | None], int, float]:
    """What the kernel does to a row before it multiplies: a norm's weights, the step's number, epsilon."""
    match before:
        case None:
            return (None, None), 0, 0.0
        case nn.LayerNorm():
            return (before.weight.detach().float(), before.bias.detach().float()), 1, before.eps
        case nn.RMSNorm():
            return (
                (before.weight.detach().float(), None),
                2,
                torch.finfo().eps if before.eps is None else before.eps,
            )
        case nn.GELU():
            return (None, None), 3 if before.approximate == "tanh" else 4, 0.0
        case SwiGLU():
            return (None, None), 5, 0.0
    raise TypeError(f"{type(before).__name__} cannot go before a packed layer")
