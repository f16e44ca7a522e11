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

import ctypes
import mmap
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.engine import kernels
from bottega.engine.paged_cache import Pass
from bottega.engine.products import product
from bottega.engine.quantisation import KINDS, PANEL, Kind, expand, panels, quantise, whole_panels
from bottega.models.gpt import GPT
from bottega.nn.cache import KVCache
from bottega.nn.transformer import Block, Rotary

# Rows of a tile where torch multiplies: it gives a row the same bits only where shapes are the same. Each
# tile reads the weights anew, so the more there are, the less a prompt waits.
_EXACT_ROWS = {"cpu": 16, "cuda": 64}


def pack(model: GPT, kind: Kind, exact: bool) -> nn.Module:
    """Replace the blocks' linear layers and the embedding of `model` in place; return its packed head.

    The head maps (n, width) to logits (n, vocabulary) in fp32. All else computes in fp32. The old weights are
    freed where the caller holds no other reference. `exact`: a row's bits do not depend on the other rows.
    """
    head = PackedLinear(model.head_weight, None, kind, exact)
    if not model.config.tied:
        model.head = nn.Identity()  # type: ignore[assignment]
    blocks = [block for block in model.blocks if isinstance(block, Block)]
    for block in blocks:
        _pack_block(block, kind, exact)
    if head.compiled is not None:
        _lay_together([layer for layer in model.modules() if isinstance(layer, PackedLinear)] + [head])
        if not any(block.post_norm for block in blocks):
            model.blocks = nn.ModuleList([PackedBlocks(blocks)])
    embedding: nn.Module
    if model.config.tied and kind in ("fp32", "bf16"):
        embedding = TiedEmbedding(head)
    else:
        table = model.tok_emb.weight.detach()
        embedding = Embedding(table.to(torch.float32 if kind == "fp32" else torch.bfloat16))
    model.tok_emb = nn.Identity()  # type: ignore[assignment]
    for parameter in model.parameters():  # norms and positions: few, and they keep the residuals in fp32
        parameter.data = parameter.data.float()
    model.tok_emb = embedding  # type: ignore[assignment]
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


def _lay_together(layers: list[PackedLinear]) -> None:
    """Move the words of `layers` into one piece of memory, in this order, mapped in large pages if possible.

    Reading is a few hundredths faster so: fewer pages to look up, and processors look ahead within one.
    """
    if not hasattr(mmap, "MADV_HUGEPAGE"):  # Linux has it
        return
    sizes = [layer.words.numel() for layer in layers]
    try:
        memory = mmap.mmap(-1, 4 * sum(sizes), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a system without them, or one that promises no memory twice
        return
    whole = torch.frombuffer(memory, dtype=torch.int32)
    for layer, words in zip(layers, whole.split_with_sizes(sizes), strict=True):
        layer.move(words.view(layer.words.shape))


class PackedBlocks(nn.Module):
    """All blocks of a packed pre-norm model: in one call of the kernels where the cache is paged."""

    def __init__(self, blocks: list[Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        described = [_described(block) for block in blocks]
        pointers = [ctypes.pointer(block) for block, _ in described]
        self._pointers = (ctypes.POINTER(kernels.Block) * len(pointers))(*pointers)
        self._held, self._library = described, kernels.compiled()

    def forward(self, x: Tensor, rotary: Rotary | None, cache: KVCache | None = None) -> Tensor:
        """What the blocks do, with x (1, token, width) in fp32."""
        if not isinstance(cache, Pass):
            for block in self.blocks:
                x = block(x, rotary, cache)
            return x
        assert self._library is not None
        y = torch.empty_like(x)
        cosine, sine = (None, None) if rotary is None else (table.data_ptr() for table in rotary)
        self._library.blocks(
            self._pointers, len(self._pointers), x.data_ptr(), y.data_ptr(), cosine, sine, *cache.arguments(),
            torch.get_num_threads(),
        )  # fmt: skip
        return y


def _described(block: Block) -> tuple[kernels.Block, list[Any]]:
    """A packed block as the kernel reads it, and what it points to."""
    attn = block.attn
    layers = (attn.qkv, attn.out, *block.mlp.children())
    pointers = [ctypes.pointer(layer.described) for layer in layers if isinstance(layer, PackedLinear)]
    norms = [_before(norm) for norm in ((attn.q_norm, attn.k_norm) if attn.qk_norm else (None, None))]
    heads, kv_heads = (size // attn.dim for size in attn.sizes[:2])
    steps = (step for step, _ in norms)
    return kernels.Block(*pointers, *steps, heads, kv_heads, attn.dim, attn.band or 0), norms


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


class TiedEmbedding(nn.Module):
    """The same, read from a head that keeps its weights in fp32 or bf16: a tied matrix is held once."""

    def __init__(self, head: PackedLinear) -> None:
        super().__init__()
        self._packed, self._width = head.compiled is not None, head.n_in
        self._dtype = torch.float32 if head.kind == "fp32" else torch.bfloat16
        self.weight = head.words

    def forward(self, ids: Tensor) -> Tensor:
        """Look the tokens up."""
        if not self._packed:
            return F.embedding(ids, self.weight).float()
        ids = ids.long()
        return self.weight[ids // PANEL, :, ids % PANEL].view(self._dtype)[..., : self._width].float()


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
        self.kind, self.exact = kind, exact
        self.n_out, self.n_in = weight.shape
        self.compiled = kernels.on(weight.device)
        self.words, self.scales = quantise(weight.detach(), kind)
        self.bias = None if bias is None else bias.detach().float()
        if self.compiled is not None:
            self._lay_out()

    def _lay_out(self) -> None:
        """Put the tensors in the kernel's order, and describe them to it."""
        self.words, self.scales = panels(self.words), whole_panels(self.scales)
        if self.kind == "int4":  # [panel][group][channel]
            self.scales = self.scales.view(-1, PANEL, self.scales.shape[1]).transpose(1, 2).contiguous()
        self.bias = None if self.bias is None else whole_panels(self.bias)
        step, self._held = _before(self.before)
        tensors = (self.words, self.scales, self.bias)
        pointers = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
        self.described = kernels.Linear(*pointers, self.n_in, self.n_out, step, KINDS.index(self.kind))
        self._address = ctypes.addressof(self.described)

    def move(self, words: Tensor) -> None:
        """Keep the words in this memory instead."""
        self.words = words.copy_(self.words)
        self.described.words = words.data_ptr()

    def forward(self, x: Tensor) -> Tensor:
        """Multiply every row."""
        if self.compiled is None:
            return self._by_torch(x)
        x = x.float().contiguous()
        y = torch.empty(*x.shape[:-1], self.n_out)
        rows = y.numel() // self.n_out
        self.compiled.linear(self._address, x.data_ptr(), None, y.data_ptr(), rows, torch.get_num_threads())
        return y

    def _by_torch(self, x: Tensor) -> Tensor:
        device = x.device.type
        half = self.kind == "bf16" or (device == "cuda" and self.kind != "fp32")
        dtype = torch.bfloat16 if half else torch.float32
        weight, factors = expand(self.words, self.scales, self.kind, self.n_in, dtype)
        x = x if self.before is None else self.before(x)
        rows = x.reshape(-1, self.n_in).to(dtype)
        if self.exact:
            size = _EXACT_ROWS[device]
            tiles = F.pad(rows, (0, 0, 0, -len(rows) % size)).view(-1, size, self.n_in)
            y = torch.cat([product(tile, weight.T) for tile in tiles])[: len(rows)]
        else:
            y = product(rows, weight.T)
        y = y if factors is None else y * factors
        y = y if self.bias is None else y + self.bias
        return y.view(*x.shape[:-1], self.n_out)


def _before(before: nn.Module | None) -> tuple[kernels.Before, tuple[Tensor | None, ...]]:
    """What the kernel does to a row before it multiplies, and the tensors that this points to."""
    weights: tuple[Tensor | None, ...] = (None, None)
    epsilon = 0.0
    match before:
        case None:
            step = 0
        case nn.LayerNorm():
            weights, step, epsilon = (
                (before.weight.detach().float(), before.bias.detach().float()),
                1,
                before.eps,
            )
        case nn.RMSNorm():
            weights, step = (before.weight.detach().float(), None), 2
            epsilon = torch.finfo().eps if before.eps is None else before.eps
        case nn.GELU():
            step = 3 if before.approximate == "tanh" else 4
        case SwiGLU():
            step = 5
        case _:
            raise TypeError(f"{type(before).__name__} cannot go before a packed layer")
    pointers = [None if weight is None else weight.data_ptr() for weight in weights]
    return kernels.Before(*pointers, epsilon, step), weights
