"""The parts of every Transformer here: attention to itself and to another sequence, feed-forward, the block.

Vaswani et al. (2017), with what came after as choices: pre-norm (Radford et al. 2019), RMSNorm (Zhang &
Sennrich 2019), rotary positions (Su et al. 2021), grouped queries (Ainslie et al. 2023), normalised queries
and keys (Henry et al. 2020), SwiGLU (Shazeer 2020). GPT, BERT, ViT and the translator stack these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from bottega.nn.activations import gelu_tanh
from bottega.nn.attention import attention, attention_weights, causal_attention, causal_mask
from bottega.nn.cache import KVCache
from bottega.nn.dropout import dropout
from bottega.nn.positions import rotate

Rotary = tuple[Tensor, Tensor]
KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class BlockConfig:
    """What a block is made of. Sizes are widths, but for the counts of heads; the defaults are GPT-2's."""

    n_embd: int
    n_head: int
    n_inner: int
    n_kv_head: int | None = None  # default: n_head
    head_dim: int | None = None  # default: n_embd / n_head
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    norm_position: Literal["pre", "post"] = "pre"
    norm_eps: float = 1e-5
    mlp: Literal["relu", "gelu", "gelu_tanh", "swiglu"] = "gelu_tanh"
    qk_norm: bool = False
    attention_bias: bool = True
    mlp_bias: bool = True
    causal: bool = True
    dropout: float = 0.0

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.n_head if self.n_kv_head is None else self.n_kv_head

    @property
    def head_size(self) -> int:
        """Width of a head."""
        return self.n_embd // self.n_head if self.head_dim is None else self.head_dim


def make_norm(config: BlockConfig, width: int) -> nn.Module:
    """The norm that the configuration names."""
    kind = nn.LayerNorm if config.norm == "layernorm" else nn.RMSNorm
    return kind(width, eps=config.norm_eps)


def split_heads(x: Float[Tensor, "batch time width"], dim: int) -> Float[Tensor, "batch head time dim"]:
    """Every `dim` channels become a head."""
    return x.view(*x.shape[:-1], -1, dim).transpose(1, 2)


def join_heads(y: Float[Tensor, "batch head time dim"]) -> Float[Tensor, "batch time width"]:
    """The heads side by side again."""
    return y.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself, with one projection for queries, keys and values."""

    def __init__(self, config: BlockConfig, layer: int = 0, band: int | None = None) -> None:
        super().__init__()
        dim, heads, kv_heads = config.head_size, config.n_head, config.kv_heads
        self.sizes = (heads * dim, kv_heads * dim, kv_heads * dim)
        self.dim, self.dropout, self.causal, self.layer, self.band = (
            dim,
            config.dropout,
            config.causal,
            layer,
            band,
        )
        self.qkv = nn.Linear(config.n_embd, sum(self.sizes), bias=config.attention_bias)
        self.out = nn.Linear(heads * dim, config.n_embd, bias=config.attention_bias)
        if config.qk_norm:
            self.q_norm, self.k_norm = make_norm(config, dim), make_norm(config, dim)
        self.qk_norm = config.qk_norm

    def forward(
        self,
        x: Float[Tensor, "batch time width"],
        rotary: Rotary | None = None,
        cache: KVCache | None = None,
        mask: Bool[Tensor, ...] | None = None,
    ) -> Float[Tensor, "batch time width"]:
        """Attend over the row, or over the cache and the row.

        `mask` (to batch × head × query × key, True where seen) is for attention that is not causal: there
        padding on the right is seen by padding alone.
        """
        q, k, v = self._heads(x, rotary)
        dropout = self.dropout if self.training else 0.0
        if cache is not None:
            y = cache.attend(self.layer, q, k, v, self.band)
        elif self.causal:
            y = causal_attention(q, k, v, self.band, dropout)
        else:
            y = attention(q, *self._shared(k, v), mask, dropout)
        return self.out(join_heads(y))

    def weights(
        self,
        x: Float[Tensor, "batch time width"],
        rotary: Rotary | None = None,
        mask: Bool[Tensor, ...] | None = None,
    ) -> Float[Tensor, "batch head time time"]:
        """How much each position takes from each, for those who want to see it."""
        q, k, v = self._heads(x, rotary)
        if self.causal:
            positions = torch.arange(x.shape[1], device=x.device)
            mask = causal_mask(positions, positions, self.band)
        return attention_weights(q, self._shared(k, v)[0], mask)

    def _heads(self, x: Tensor, rotary: Rotary | None) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (split_heads(part, self.dim) for part in self.qkv(x).split(self.sizes, -1))
        if self.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        return q, k, v

    def _shared(self, k: Tensor, v: Tensor) -> KeysValues:
        """Keys and values for every head: neighbouring heads share theirs."""
        groups = self.sizes[0] // self.sizes[1]
        return (k, v) if groups == 1 else (k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1))


class CrossAttention(nn.Module):
    """Multi-head attention to another sequence, whose keys and values are computed once."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        width = config.n_head * config.head_size
        self.dim, self.dropout = config.head_size, config.dropout
        self.q = nn.Linear(config.n_embd, width, bias=config.attention_bias)
        self.kv = nn.Linear(config.n_embd, 2 * width, bias=config.attention_bias)
        self.out = nn.Linear(width, config.n_embd, bias=config.attention_bias)

    def keys_values(self, memory: Float[Tensor, "batch key width"]) -> KeysValues:
        """Keys and values of what is attended to, each (batch, head, key, dim)."""
        k, v = self.kv(memory).chunk(2, -1)
        return split_heads(k, self.dim), split_heads(v, self.dim)

    def forward(
        self,
        x: Float[Tensor, "batch query width"],
        keys_values: KeysValues,
        mask: Bool[Tensor, ...] | None = None,
    ) -> Float[Tensor, "batch query width"]:
        """For each position of x, what it takes from the other sequence; `mask` hides that one's padding."""
        q = split_heads(self.q(x), self.dim)
        return self.out(join_heads(attention(q, *keys_values, mask, self.dropout if self.training else 0.0)))

    def weights(
        self,
        x: Float[Tensor, "batch query width"],
        keys_values: KeysValues,
        mask: Bool[Tensor, ...] | None = None,
    ) -> Float[Tensor, "batch head query key"]:
        """How much each position takes from each of the other sequence."""
        return attention_weights(split_heads(self.q(x), self.dim), keys_values[0], mask)


class MLP(nn.Module):
    """The position-wise feed-forward layer: ReLU, GELU (Hendrycks & Gimpel 2016) or SwiGLU."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.kind = config.mlp
        wide = 2 * config.n_inner if config.mlp == "swiglu" else config.n_inner
        self.up = nn.Linear(config.n_embd, wide, bias=config.mlp_bias)
        self.down = nn.Linear(config.n_inner, config.n_embd, bias=config.mlp_bias)

    def forward(self, x: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch time width"]:
        """Widen, bend, narrow."""
        x = self.up(x)
        match self.kind:
            case "swiglu":
                gate, x = x.chunk(2, -1)
                x = F.silu(gate) * x
            case "gelu_tanh":
                x = gelu_tanh(x)
            case "gelu":
                x = F.gelu(x)
            case _:
                x = F.relu(x)
        return self.down(x)


class Block(nn.Module):
    """Attention and feed-forward, each on a residual branch."""

    def __init__(self, config: BlockConfig, layer: int = 0, band: int | None = None) -> None:
        super().__init__()
        self.post_norm, self.dropout = config.norm_position == "post", config.dropout
        self.norm1, self.attn = make_norm(config, config.n_embd), SelfAttention(config, layer, band)
        self.norm2, self.mlp = make_norm(config, config.n_embd), MLP(config)

    def forward(
        self,
        x: Float[Tensor, "batch time width"],
        rotary: Rotary | None = None,
        cache: KVCache | None = None,
        mask: Bool[Tensor, ...] | None = None,
    ) -> Float[Tensor, "batch time width"]:
        """Pre-norm as in GPT-2, or post-norm as in 2017, GPT-1 and BERT."""
        if self.post_norm:
            x = self.norm1(x + self._drop(self.attn(x, rotary, cache, mask)))
            return self.norm2(x + self._drop(self.mlp(x)))
        x = x + self._drop(self.attn(self.norm1(x), rotary, cache, mask))
        return x + self._drop(self.mlp(self.norm2(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


def hidden_matrices(stack: nn.Module) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """The matrices of all attention and feed-forward layers in a stack, but for gated ones.

    Each comes with the rows of the maps that it stacks, such as q, k and v.
    """
    for module in stack.modules():
        if isinstance(module, SelfAttention):
            yield module.qkv.weight, module.sizes
            yield module.out.weight, (len(module.out.weight),)
        elif isinstance(module, CrossAttention):
            yield module.q.weight, (len(module.q.weight),)
            yield module.kv.weight, (len(module.kv.weight) // 2,) * 2
            yield module.out.weight, (len(module.out.weight),)
        elif isinstance(module, MLP):
            yield module.up.weight, (len(module.up.weight),)
            yield module.down.weight, (len(module.down.weight),)
