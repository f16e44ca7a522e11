"""The paged KV cache (Kwon et al. 2023): sequences hold blocks of one pool, wherever in it they lie.

A forward pass sees one row of tokens, whatever sequences they belong to: `Pass` says of each token whose it
is and where it stands, and implements nn.cache.KVCache on that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import psutil
import torch
from torch import Tensor

from bottega.engine import paged_attention, torch_attention
from bottega.engine.paged_attention import BLOCK
from bottega.engine.torch_attention import Tiles
from bottega.models.gpt import GPTConfig

MEMORY_SHARE = 0.5  # of the memory that is free, where nobody says how many tokens the cache holds


class PagedCache:
    """Keys (layer, block, kv_head, dim, BLOCK) and values (layer, block, kv_head, BLOCK, dim).

    Block `spare` is nobody's: what fills up a step of fixed shape is written there.
    """

    def __init__(self, config: GPTConfig, blocks: int, dtype: torch.dtype, device: torch.device) -> None:
        self.spare = blocks
        shape = (config.n_layer, blocks + 1, config.kv_heads)
        self.keys = _zeros((*shape, config.head_size, BLOCK), dtype, device)
        self.values = _zeros((*shape, BLOCK, config.head_size), dtype, device)

    def copy(self, source: int, target: int) -> None:
        """Make block `target` hold what `source` holds."""
        for stored in (self.keys, self.values):
            stored[:, target] = stored[:, source]


def tokens_that_fit(config: GPTConfig, dtype: torch.dtype, device: torch.device) -> int:
    """How many positions of keys and values a share of the free memory holds."""
    free = psutil.virtual_memory().available
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    position = 2 * config.n_layer * config.kv_heads * config.head_size * dtype.itemsize
    return int(free * MEMORY_SHARE) // position


@dataclass
class Pass:
    """One forward pass over a flat row of tokens: a KVCache with a batch of one.

    `tables` (sequence, block) are the sequences' blocks; token t belongs to sequence `rows[t]` and stands at
    `at[t]`. All are int32. `tiles` is for torch's arithmetic, where the kernels do not compute.
    """

    cache: PagedCache
    tables: Tensor
    rows: Tensor
    at: Tensor
    tiles: Tiles | None = None

    def positions(self, n: int) -> Tensor:
        """Positions of the row's `n` tokens, (1, n)."""
        return self.at[None, :n]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, band: int | None = None) -> Tensor:
        """Store the tokens' keys and values and attend: (1, head, n, dim), each token to its own sequence."""
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        q, k, v = (part[0].transpose(0, 1) for part in (q, k, v))
        place = (self.tables, self.rows, self.at)
        if self.tiles is None:
            paged_attention.store(k, v, keys, values, *place)
            y = paged_attention.attend(q, keys, values, *place, band)
        else:
            torch_attention.store(k, v, keys, values, *place)
            y = torch_attention.attend(q, keys, values, *place, self.tiles, band)
        return y.transpose(0, 1)[None]

    def arguments(self) -> tuple[int, ...]:
        """Where the kernel of all blocks finds keys, values and the tokens' places: block.cpp's, in order."""
        keys, values = self.cache.keys, self.cache.values
        places = (self.tables.data_ptr(), self.rows.data_ptr(), self.at.data_ptr())
        sizes = (len(self.at), keys.stride(1), self.tables.stride(0), int(keys.dtype == torch.bfloat16))
        return (keys.data_ptr(), values.data_ptr(), keys.stride(0) * keys.itemsize, *places, *sizes)

    def advance(self, counts: Tensor | int) -> None:
        """A pass is used once; its sequences count their tokens themselves."""


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros whose memory is taken only when it is first written, where the device can."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # numpy asks the system for zeroed pages where torch would write them.
    unit = {2: np.int16, 4: np.int32}[dtype.itemsize]
    return torch.from_numpy(np.zeros(shape, unit)).view(dtype)
