"""The KV cache's contract, and the contiguous cache for generation in a batch."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from bottega.nn.attention import causal_mask


@runtime_checkable
class KVCache(Protocol):
    """What a model needs of a cache: positions for the new tokens, attention over all so far, and an advance.

    One forward pass asks for `positions` once, calls `attend` once a layer, and the caller then says with
    `advance` how many of the new tokens of each row were real: right padding is overwritten by what follows.
    """

    def positions(self, n: int) -> Int[Tensor, "batch n"]:
        """Positions of the next `n` tokens of every row."""
        ...

    def attend(
        self,
        layer: int,
        q: Float[Tensor, "batch head n dim"],
        k: Float[Tensor, "batch kv_head n dim"],
        v: Float[Tensor, "batch kv_head n dim"],
        band: int | None = None,
    ) -> Float[Tensor, "batch head n dim"]:
        """Store the new keys and values of a layer and attend causally over all of the row."""
        ...

    def advance(self, counts: Int[Tensor, " batch"] | int) -> None:
        """Count the new tokens as part of each row."""
        ...


class ContiguousCache:
    """Keys and values of each layer in one tensor, `capacity` positions a row; rows may differ in length."""

    def __init__(
        self,
        n_layer: int,
        batch: int,
        n_kv_head: int,
        head_dim: int,
        capacity: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (n_layer, batch, n_kv_head, capacity, head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.long, device=device)
        self.longest = 0  # max of lengths, kept on the host so that no step waits for the device
        self.capacity = capacity

    def positions(self, n: int) -> Int[Tensor, "batch n"]:
        """Positions of the next `n` tokens: each row goes on where it ends."""
        if self.longest + n > self.capacity:
            raise ValueError(f"{self.longest} + {n} tokens do not fit into a cache of {self.capacity}")
        return self.lengths[:, None] + torch.arange(n, device=self.lengths.device)

    def attend(
        self,
        layer: int,
        q: Float[Tensor, "batch head n dim"],
        k: Float[Tensor, "batch kv_head n dim"],
        v: Float[Tensor, "batch kv_head n dim"],
        band: int | None = None,
    ) -> Float[Tensor, "batch head n dim"]:
        """Store and attend; a key is seen by the queries at or after its position in the same row."""
        n = q.shape[2]
        end = self.longest + n
        new = self.positions(n)
        rows = torch.arange(q.shape[0], device=q.device)[:, None]
        # Indexing by (row, position) puts the advanced axes first: (batch, n, kv_head, dim).
        self.keys[layer][rows, :, new] = k.transpose(1, 2)
        self.values[layer][rows, :, new] = v.transpose(1, 2)
        mask = causal_mask(new, torch.arange(end, device=q.device), band)[:, None]
        keys, values = self.keys[layer, :, :, :end], self.values[layer, :, :, :end]
        return F.scaled_dot_product_attention(
            q, keys, values, attn_mask=mask, enable_gqa=q.shape[1] != k.shape[1]
        )

    def advance(self, counts: Int[Tensor, " batch"] | int) -> None:
        """Lengthen every row by its count of real tokens."""
        self.lengths = self.lengths + counts
        self.longest = int(self.lengths.max())
