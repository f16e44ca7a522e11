"""Steps in which every sequence decodes one token, as CUDA graphs: one launch in the place of hundreds.

A small model's step is many short operations, and a host takes longer to launch them than a GPU to compute
them. A graph has fixed shapes, so a step is filled up to a power of two of sequences and of blocks, and each
such shape is captured when it first comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bottega.engine.blocks import blocks_for
from bottega.engine.paged_attention import BLOCK
from bottega.engine.paged_cache import PagedCache, Pass
from bottega.engine.torch_attention import Tiles
from bottega.models.gpt import GPT


class DecodeGraphs:
    """The graphs of a model over a paged cache. One stream uses them, one at a time."""

    def __init__(self, model: GPT, cache: PagedCache, device: torch.device) -> None:
        self._model, self._cache, self._device = model, cache, device
        self._steps: dict[tuple[int, int], tuple[DecodeStep, Callable[[], Tensor]]] = {}
        self._pool: Any = None  # the memory that all graphs compute in, since one at a time does

    def __call__(self, tokens: np.ndarray, tables: np.ndarray) -> Tensor:
        """The states (sequence, width) of one token of each sequence.

        `tokens` (3, sequence): ids, rows in `tables` (row, block) and positions.
        """
        blocks = blocks_for(int(tokens[2].max()) + 1)
        shape = _power_of_two(tokens.shape[1]), min(_power_of_two(blocks), tables.shape[1])
        if shape not in self._steps:
            step = DecodeStep(self._model, self._cache, *shape, self._device)
            replay, self._pool = capture(step.compute, self._pool)
            self._steps[shape] = step, replay
        step, replay = self._steps[shape]
        step.fill(tokens, tables)
        return replay()[: tokens.shape[1]].clone()  # the next replay writes there again


class DecodeStep:
    """A decoding step of `size` sequences in `blocks` blocks each, whose inputs stay where they are."""

    def __init__(self, model: GPT, cache: PagedCache, size: int, blocks: int, device: torch.device) -> None:
        self._model, self._spare = model, cache.spare
        self._inputs = torch.full((size, 2 + blocks), cache.spare, dtype=torch.int32, device=device)
        self._inputs[:, :2] = 0
        self._ids, at, tables = self._inputs[:, 0], self._inputs[:, 1], self._inputs[:, 2:]
        rows = torch.arange(size, device=device)
        self._place = Pass(cache, tables, rows, at, Tiles(rows[:, None], rows, 0, blocks * BLOCK - 1))

    def fill(self, tokens: np.ndarray, tables: np.ndarray) -> None:
        """Take a step's inputs; what is filled up writes to the spare block, and is read by nobody."""
        n = tokens.shape[1]
        size, width = self._inputs.shape
        inputs = np.zeros((size, width), np.int32)
        inputs[n:, 2:] = self._spare
        inputs[:n, 0], inputs[:n, 1], inputs[:n, 2:] = tokens[0], tokens[2], tables[tokens[1], : width - 2]
        self._inputs.copy_(torch.from_numpy(inputs))

    def compute(self) -> Tensor:
        """The states (size, width)."""
        return self._model.hidden(self._ids[None], self._place)[0]


def capture(compute: Callable[[], Tensor], pool: Any) -> tuple[Callable[[], Tensor], Any]:
    """Capture `compute` on the current GPU, in the memory `pool` of an earlier capture unless it is None.

    Returns what repeats it, into the same tensor each time, and the pool.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        compute()  # once before: libraries load their kernels and take their workspaces
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        output = compute()

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay, graph.pool()


def _power_of_two(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << (n - 1).bit_length()
