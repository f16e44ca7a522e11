"""A step's forward pass: what is to be computed of each sequence goes in, its tokens' states come out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bottega.engine import kernels
from bottega.engine.cuda_graphs import DecodeGraphs
from bottega.engine.paged_cache import PagedCache, Pass
from bottega.engine.scheduler import Span
from bottega.engine.torch_attention import Tiles
from bottega.models.gpt import GPT


class Forward:
    """The model, packed, over a paged cache: by the kernels, by torch, or as captured CUDA graphs."""

    def __init__(self, model: GPT, cache: PagedCache, device: torch.device) -> None:
        self._model, self._cache, self._device = model, cache, device
        self._by_torch = kernels.on(device) is None
        self._graphs = DecodeGraphs(model, cache, device) if device.type == "cuda" else None

    def __call__(self, spans: list[Span], tables: np.ndarray) -> Tensor:
        """The states (token, width) of the spans' tokens; `tables` (slot, block) hold everyone's blocks."""
        counts = [span.count + len(span.drafts) for span in spans]
        tokens = _tokens(spans, counts)
        if self._graphs is not None and len(spans) == tokens.shape[1]:
            return self._graphs(tokens, tables)
        ids, rows, at = torch.from_numpy(tokens).to(self._device)
        tiles = Tiles.of(counts, tokens[2], self._device) if self._by_torch else None
        place = Pass(self._cache, torch.from_numpy(tables).to(self._device), rows, at, tiles)
        return self._model.hidden(ids[None], place)[0]


def _tokens(spans: list[Span], counts: list[int]) -> np.ndarray:
    """Ids, slots and positions of all tokens, (3, token), one span behind the other."""
    packed = np.empty((3, sum(counts)), np.int32)
    start = 0
    for span, count in zip(spans, counts, strict=True):
        sequence, end = span.sequence, start + count
        first = sequence.computed
        packed[0, start:end] = [*sequence.tokens[first : first + span.count], *span.drafts]
        assert sequence.slot is not None
        packed[1, start:end] = sequence.slot
        packed[2, start:end] = np.arange(first, first + count)
        start = end
    return packed
