"""From token shards to batches: documents packed to the context length, shuffled, sharded across ranks.

The stream of an epoch is `<eot> document <eot> document <eot> … document <eot>` with the documents in an
order that depends on (seed, epoch) alone. It is cut into windows of `context_length` targets, and the
windows are shuffled too. Nothing of this is written out: every window is found by its position, so the
cursor is one integer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from bottega.data.shard_files import Ids, Int64s, TokenShards
from bottega.errors import InputError
from bottega.nn.loss import IGNORE

RUN = 2**22  # ids: how much of an epoch `consumed` hands out at a time


class Stream:
    """The documents in a given order as one array `<eot> document <eot> … document <eot>`, never written out.

    Its length is `n_tokens + n_documents + 1`; all but the first id can be targets.
    """

    def __init__(self, shards: TokenShards, order: Int64s | None = None):
        starts, lengths = shards.starts, shards.lengths + 1
        if order is not None:
            starts, lengths = starts[order], lengths[order]
        # The <eot> before the first document is read where the first document's own one stands.
        first_end = shards.starts[:1] + shards.lengths[:1]
        self._shards = shards
        self._sources = np.concatenate([first_end, starts])
        self._bounds = np.concatenate([[0, 1], 1 + np.cumsum(lengths)])
        self.length = int(self._bounds[-1])

    def read(self, begins: Int64s, ends: Int64s) -> Ids:
        """The ids of many spans [begin, end) of the stream, one span after the other."""
        first = np.searchsorted(self._bounds, begins, side="right") - 1
        count = np.searchsorted(self._bounds, ends, side="left") - first
        # One entry for each piece of a document that lies in a span.
        span = np.repeat(np.arange(len(begins)), count)
        piece = np.arange(len(span)) + (first - (np.cumsum(count) - count))[span]
        begin = np.maximum(self._bounds[piece], begins[span])
        end = np.minimum(self._bounds[piece + 1], ends[span])
        return self._shards.read(self._sources[piece] + begin - self._bounds[piece], end - begin)


@dataclass(frozen=True)
class _Epoch:
    number: int
    stream: Stream
    windows: Int64s  # the order in which the windows of the stream are taken


class PackedLoader:
    """Batches for training, the same for every machine, number of ranks and interruption.

    `batch_size` counts the sequences of a step over all ranks: step s takes the positions s·batch_size … ,
    rank r the r-th of `world_size` equal parts of them. Position p is window p mod `windows` of epoch p div
    `windows`. Window w has the stream's ids [w·T, w·T + T] for context length T: T inputs, and T targets
    that are the inputs shifted by one. So each token and each end_of_text is a target exactly once an
    epoch; what the last window of the stream lacks is IGNORE (and end_of_text as input).

    Raises `InputError` where the corpus is shorter than one context, or the batch cannot be shared out
    evenly.
    """

    def __init__(
        self,
        shards: TokenShards,
        context_length: int,
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        targets = shards.n_tokens + shards.n_documents
        if context_length < 1 or batch_size < 1 or not 0 <= rank < world_size or not 0 <= seed < 2**64:
            raise InputError(
                f"context_length {context_length}, batch_size {batch_size}, rank {rank} of {world_size}, "
                f"seed {seed}: expected sizes of at least 1, a rank below the world size, a seed of 0 or more"
            )
        if batch_size % world_size:
            raise InputError(
                f"a batch of {batch_size} sequences cannot be shared out evenly over {world_size} processes; "
                f"choose a multiple of {world_size}"
            )
        if targets < context_length:
            raise InputError(
                f"the corpus has {targets:,} tokens, less than one context of {context_length:,}; "
                "give more text or a shorter context"
            )
        self.shards, self.context_length, self.batch_size, self.seed = (
            shards,
            context_length,
            batch_size,
            seed,
        )
        self.rank, self.world_size = rank, world_size
        self.windows = -(-targets // context_length)  # per epoch
        self.position = 0  # sequences taken so far, over all ranks
        self._epoch: _Epoch | None = None

    @property
    def epochs(self) -> float:
        """How many times the corpus has been gone through, in parts of an epoch."""
        return self.position / self.windows

    def next_batch(self) -> dict[str, Int[Tensor, "rows time"]]:
        """This rank's rows of the next step: `ids`, `targets`, (batch_size / world_size, context_length)."""
        rows = self.batch_size // self.world_size
        first = self.position + self.rank * rows
        self.position += self.batch_size
        return self.rows(np.arange(first, first + rows))

    def rows(self, positions: Int64s) -> dict[str, Int[Tensor, "rows time"]]:
        """The sequences at any positions, without moving the cursor."""
        T = self.context_length
        rows = np.empty((len(positions), T + 1), np.int64)
        lengths = np.empty(len(positions), np.int64)
        epochs = positions // self.windows
        for number in np.unique(epochs):
            epoch, here = self._load(int(number)), epochs == number
            begins = epoch.windows[positions[here] % self.windows] * T
            rows[here], lengths[here] = _read_rows(epoch.stream, begins, T + 1, self.shards.end_of_text)
        return _batch(rows, lengths)

    def consumed(self, positions: int | None = None, *, epochs: int | None = None) -> Iterator[Ids]:
        """The ids in the first `positions` sequences (default: those taken so far), inputs and targets.

        A rival that counts (an n-gram) is trained on exactly these. They come epoch by epoch, in the order
        of the epoch's stream. A window of T targets has T + 1 ids and shares its last with the first of the
        next window of the stream: where both were taken, that id comes once, and the two windows are one
        array. So an epoch that was gone through gives its whole stream, each id once, as one array; an
        epoch of which k windows were taken gives k·T + (number of arrays) ids, less what the stream's last
        window lacks. Arrays longer than 4 million ids are cut, without overlap. `epochs` stops after so
        many: with 1, no window comes twice.
        """
        left = self.position if positions is None else positions
        number = 0
        while left > 0 and (epochs is None or number < epochs):
            epoch = self._load(number)
            taken = np.sort(epoch.windows[:left])
            breaks = np.flatnonzero(np.diff(taken) > 1) + 1
            for begin, end in zip([0, *breaks], [*breaks, len(taken)], strict=True):
                start = int(taken[begin]) * self.context_length
                stop = min((int(taken[end - 1]) + 1) * self.context_length + 1, epoch.stream.length)
                for cut in range(start, stop, RUN):
                    yield epoch.stream.read(np.array([cut]), np.array([min(cut + RUN, stop)]))
            left, number = left - self.windows, number + 1

    def state_dict(self) -> dict[str, Any]:
        """The cursor, and what it is only valid for: seed, context length, corpus."""
        return {"position": self.position} | self._identity()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; raises `InputError` if seed, context length or corpus differ."""
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise InputError(
                    f"the saved run read its data with {name} {state.get(name)}, but now it is {value}; "
                    "resume with the same data and settings, or start a new run"
                )
        self.position = int(state["position"])

    def _identity(self) -> dict[str, Any]:
        return {"seed": self.seed, "context_length": self.context_length, "corpus": self.shards.fingerprint}

    def _load(self, number: int) -> _Epoch:
        if self._epoch is None or self._epoch.number != number:
            order = _permutation(self.shards.n_documents, self.seed, 2 * number)
            windows = _permutation(self.windows, self.seed, 2 * number + 1)
            self._epoch = _Epoch(number, Stream(self.shards, order), windows)
        return self._epoch


def validation_batches(
    shards: TokenShards, context_length: int, batch_size: int, stride: int | None = None
) -> Iterator[dict[str, Int[Tensor, "rows time"]]]:
    """The whole split in order: each token and each document's end_of_text is scored exactly once.

    Windows begin `stride` tokens apart (default: `context_length`). With a smaller stride they overlap:
    each scores only its last `stride` targets, so that every target but the first ones is seen with at
    least `context_length - stride` tokens of context. All other targets are IGNORE. The last batch may have
    fewer rows.
    """
    stride = context_length if stride is None else stride
    if not 1 <= stride <= context_length or batch_size < 1:
        raise InputError(
            f"context_length {context_length}, stride {stride}, batch_size {batch_size}: "
            "expected a stride from 1 to the context length, and 1 row or more"
        )
    stream = Stream(shards)
    windows = 1 + max(0, -(-(stream.length - 1 - context_length) // stride))
    for first in range(0, windows, batch_size):
        number = np.arange(first, min(first + batch_size, windows))
        rows, lengths = _read_rows(stream, number * stride, context_length + 1, shards.end_of_text)
        batch = _batch(rows, lengths)
        batch["targets"][int(first == 0) :, : context_length - stride] = IGNORE
        yield batch


def _read_rows(stream: Stream, begins: Int64s, width: int, padding: int) -> tuple[Int64s, Int64s]:
    """Spans of `width` ids as rows, padded where the stream ends; and how many ids of each row are real."""
    ends = np.minimum(begins + width, stream.length)
    lengths = ends - begins
    rows = np.full((len(begins), width), padding, np.int64)
    rows[np.arange(width) < lengths[:, None]] = stream.read(begins, ends)
    return rows, lengths


def _batch(rows: Int64s, lengths: Int64s) -> dict[str, Int[Tensor, "rows time"]]:
    targets = np.where(np.arange(1, rows.shape[1]) < lengths[:, None], rows[:, 1:], IGNORE)
    return {"ids": torch.from_numpy(rows[:, :-1].copy()), "targets": torch.from_numpy(targets)}


def _permutation(n: int, seed: int, stream: int) -> Int64s:
    # Sorted random keys, because numpy freezes the bits of Philox for good, but not what its Generator
    # makes of them.
    keys = np.random.Philox(key=np.array([seed, stream], np.uint64)).random_raw(n)
    return np.argsort(keys, kind="stable")
