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
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.engine import kernels
from bottega.models.gpt import GPT, Block

Kind = Literal["fp32", "bf16", "int8", "int4"]
KINDS: tuple[Kind, ...] = ("fp32", "bf16", "int8", "int4")

PANEL = 64  # output channels that the kernel computes together
GROUP = 32  # inputs that share a scale
_EXACT_ROWS = 16  # torch's products are the same bits for a row only where their shapes are the same
_CANDIDATES = (1.0, 0.95, 0.9, 0.85)  # steps of int4: a smaller one clips the largest weight


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
            scales = _whole_panels(scales)
            if kind == "int4":  # [panel][group][channel]
                scales = scales.view(-1, PANEL, scales.shape[1]).transpose(1, 2).contiguous()
            bias = None if bias is None else _whole_panels(bias)
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


def quantise(weight: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """The bytes of a matrix (out, in) row by row, and its scales.

    fp32, bf16: (out, in), no scales. int8: (out, in) with 128 added, (out,) fp32. int4: (out, in / 2), two in
    a byte with 8 added, of every eight inputs the first four in the lower halves; (out, groups) bf16. Inputs
    are filled up to whole groups with zeros.
    """
    if kind == "fp32":
        return weight.float(), torch.empty(0)
    if kind == "bf16":
        return weight.bfloat16(), torch.empty(0)
    weight = F.pad(weight.float(), (0, -weight.shape[1] % GROUP))
    one = _eight_bits if kind == "int8" else _four_bits
    height = max(1, 2**18 // weight.shape[1])  # rows that fit a cache
    parts = [one(weight[start : start + height]) for start in range(0, len(weight), height)]
    words, scales = (torch.cat(part) for part in zip(*parts, strict=True))
    return words, scales


def _eight_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    scales = torch.maximum(weight.amax(1), -weight.amin(1)).clamp(min=1e-30) / 127
    return (weight / scales[:, None]).round_().add_(128).to(torch.uint8), scales


def _four_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Two levels a byte, and the scale of each group: of some steps the one that errs least."""
    groups = weight.view(-1, GROUP).T.contiguous()  # reductions over the first dimension are fast
    high, low = groups.amax(0), groups.amin(0)
    farthest = torch.where(high > -low, high, low)
    best = torch.full_like(farthest, float("inf"))
    scales, levels = torch.zeros_like(farthest), torch.zeros_like(groups)
    for candidate in _CANDIDATES:
        # The farthest weight becomes -8, the end that reaches one step farther than 7.
        scale = (farthest * (-candidate / 8)).bfloat16().float()
        tried = (groups / torch.where(scale == 0, 1.0, scale)).round_().clamp_(-8, 7)
        error = (tried * scale).sub_(groups).square_().sum(0)
        better = error < best
        best, scales = torch.where(better, error, best), torch.where(better, scale, scales)
        levels = torch.where(better, tried, levels)
    eights = levels.add_(8).to(torch.uint8).T.reshape(len(weight), -1, 2, 4)
    return (eights[:, :, 0] | eights[:, :, 1] << 4).flatten(1), scales.view(len(weight), -1).bfloat16()


def dequantise(words: Tensor, scales: Tensor, kind: Kind, n_in: int) -> Tensor:
    """The matrix (out, in) that `quantise` keeps, in fp32."""
    if kind in ("fp32", "bf16"):
        return words.float()
    if kind == "int8":
        return ((words.float() - 128) * scales[:, None])[:, :n_in]
    fours = words.view(len(words), -1, 1, 4)
    levels = torch.cat([fours & 15, fours >> 4], 2).view(*scales.shape, GROUP).float() - 8
    return (levels * scales.float()[:, :, None]).flatten(1)[:, :n_in]


def panels(rows: Tensor) -> Tensor:
    """Rows (out, ...) as int32 (panel, step, channel): what a panel reads in one step lies together."""
    if rows.shape[1] * rows.element_size() % 4:
        rows = F.pad(rows, (0, 1))  # an odd number of bf16
    words = _whole_panels(rows.contiguous().view(torch.int32))
    return words.view(-1, PANEL, words.shape[1]).transpose(1, 2).contiguous()


def _whole_panels(rows: Tensor) -> Tensor:
    missing = -len(rows) % PANEL
    return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])]) if missing else rows
