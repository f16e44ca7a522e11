"""What `paged_attention` computes, in torch's operations: for GPUs, and for CPUs without a C++ compiler.

Tokens go through in tiles: those of one tile belong to one sequence, whose blocks are read once for all of
them. Nothing here waits for a device, so that a step can be captured as a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bottega.engine.paged_attention import BLOCK
from bottega.engine.products import product

TILE = 16  # tokens of a sequence that share what is read for them
_TILES_AT_ONCE = 64  # which, with the blocks at once, bounds the memory that is taken
_BLOCKS_AT_ONCE = 4


@dataclass(frozen=True)
class Tiles:
    """How the tokens of a pass, which stand at positions from `lowest` to `highest`, are cut into tiles.

    `tokens` (tile, n): the numbers of a tile's tokens, the last one repeated where there are fewer than n.
    `places` (token,): where each token stands among all the tiles' entries.
    """

    tokens: Tensor
    places: Tensor
    lowest: int
    highest: int

    @classmethod
    def of(cls, counts: Sequence[int], positions: np.ndarray, device: torch.device) -> Tiles:
        """The tiles of sequences that have `counts` tokens in the pass, one after the other."""
        n = np.asarray(counts)
        size = min(TILE, int(n.max()))
        ends, tiles = n.cumsum(), -(-n // size)
        first_tile = tiles.cumsum() - tiles
        within = np.arange(tiles.sum()) - np.repeat(first_tile, tiles)  # the tile's number in its sequence
        starts = np.repeat(ends - n, tiles) + size * within
        tokens = np.minimum(starts[:, None] + np.arange(size), np.repeat(ends, tiles)[:, None] - 1)
        offsets = np.arange(ends[-1]) - np.repeat(ends - n, n)
        places = size * np.repeat(first_tile, n) + offsets
        there = torch.from_numpy(tokens).to(device), torch.from_numpy(places).to(device)
        return cls(*there, int(positions.min()), int(positions.max()))


def store(
    k: Tensor, v: Tensor, keys: Tensor, values: Tensor, tables: Tensor, rows: Tensor, positions: Tensor
) -> None:
    """Write the keys and values of new tokens to their places, as `paged_attention.store` does."""
    blocks, at = tables[rows, positions // BLOCK], positions % BLOCK
    keys[blocks, :, :, at] = k.to(keys.dtype)
    values[blocks, :, at] = v.to(values.dtype)


def attend(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    tables: Tensor,
    rows: Tensor,
    positions: Tensor,
    tiles: Tiles,
    band: int | None = None,
) -> Tensor:
    """Attend from each token to its sequence, as `paged_attention.attend` does, with its shapes."""
    parts = []
    for tokens in torch.split(tiles.tokens, _TILES_AT_ONCE):
        blocks = tables[rows[tokens[:, 0]]]
        parts.append(_attend(q[tokens], keys, values, blocks, positions[tokens], tiles, band))
    return torch.cat(parts)[tiles.places]


def _attend(
    q: Tensor, keys: Tensor, values: Tensor, tables: Tensor, positions: Tensor, tiles: Tiles, band: int | None
) -> Tensor:
    """q is (tile, n, head, dim). By a few blocks, with online softmax (Milakov & Gimelshein 2018)."""
    count, n, heads, dim = q.shape
    kv_heads = keys.shape[1]
    # (tile, block, kv_head, heads that share it, n, dim); for scores the last axis is that of a block's keys.
    queries = (q.float() * dim**-0.5).view(count, 1, n, kv_heads, -1, dim).permute(0, 1, 3, 4, 2, 5)
    queries = queries.to(keys.dtype)
    top = torch.full((*queries.shape[:-1], 1), -1e30, device=q.device)
    total, sums = torch.zeros_like(top), torch.zeros(queries.shape, device=q.device)
    first = 0 if band is None else max(0, tiles.lowest - band + 1) // BLOCK
    for block in range(first, tiles.highest // BLOCK + 1, _BLOCKS_AT_ONCE):
        at = tables[:, block : block + _BLOCKS_AT_ONCE]  # what is not a sequence's own is masked
        some = queries.expand(-1, at.shape[1], -1, -1, -1, -1)
        lane = torch.arange(block * BLOCK, (block + at.shape[1]) * BLOCK, device=q.device)
        distance = positions[:, None, :, None] - lane.view(-1, 1, BLOCK)
        seen = (distance >= 0) if band is None else (distance >= 0) & (distance < band)
        mask = seen[:, :, None, None]
        scores = product(some.flatten(0, 2).flatten(1, 2), keys[at].flatten(0, 2))
        scores = scores.view(*some.shape[:-1], BLOCK).masked_fill(~mask, -1e30)
        highest = torch.maximum(top, scores.amax((1, -1), keepdim=True))
        weights = torch.exp(scores - highest) * mask
        keep = torch.exp(top - highest)
        # Places that nobody sees may hold a NaN.
        held = values[at].masked_fill(~seen.any(2)[:, :, None, :, None], 0.0)
        taken = product(weights.to(values.dtype).flatten(0, 2).flatten(1, 2), held.flatten(0, 2))
        total, top = total * keep + weights.sum((1, -1), keepdim=True), highest
        sums = sums * keep + taken.view(some.shape).sum(1, keepdim=True)
    return (sums / total)[:, 0].permute(0, 3, 1, 2, 4).reshape(count * n, heads, dim).to(q.dtype)
