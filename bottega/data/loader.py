"""From token shards to batches: documents packed to the context length, shuffled, sharded across ranks.

The stream of an epoch is `<eot> document <eot> document <eot> … document <eot>` with the documents in an
order that depends on (seed, epoch) alone. It is cut into windows of `context_length` targets, and the
windows are shuffled too. Nothing of this is written out: every window is found by its position, so the
cursor is one integer. With a `fim_rate` that share of the windows is rearranged for filling in the middle
when it is read (see `fim`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from torch import Tensor

from bottega.data.fim import GROWTH, FillInMiddle
from bottega.data.shard_files import Ids, Int64s, TokenShards
from bottega.errors import InputError
from bottega.nn.loss import IGNORE

# Keys of the generator beside those of the permutations, which count from 0, and of a mixture, at 2**63.
FIM_NOISE = 2**62
DRAWS = 32  # pieces of a window that can be rearranged
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
    bounds: Int64s  # window w has the stream's ids bounds[w] … bounds[w + 1]
    fim: npt.NDArray[np.bool_]  # the windows that are rearranged
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

    With `fim_rate` above 0 that share of the windows (all but the stream's last) is drawn anew for each
    epoch, by (seed, epoch). Such a window takes fewer ids of the stream, as many as leave room for what
    rearranging adds; each piece of a document in it is cut by (seed, epoch, window). Its special tokens and
    what room is left are no targets. Raises `InputError` for a rate that is none, a context too short to
    leave any room, and a tokenizer without the special tokens.
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
        fim_rate: float = 0.0,
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
        self.rank, self.world_size, self.fim_rate = rank, world_size, fim_rate
        self._fim = _fill_in_middle(shards, context_length) if _is_rate(fim_rate) else None
        self._room = _room(shards, context_length) if self._fim else 0  # that a rearranged window leaves
        self.windows = math.ceil(targets / (context_length - fim_rate * self._room))  # per epoch
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
            epoch, here = self._load(int(number)), np.flatnonzero(epochs == number)
            windows = epoch.windows[positions[here] % self.windows]
            begins, ends = epoch.bounds[windows], epoch.bounds[windows + 1] + 1
            rows[here], lengths[here] = read_rows(epoch.stream, begins, T + 1, self.shards.end_of_text, ends)
            for row, window in zip(here, windows, strict=True):
                if epoch.fim[window]:
                    lengths[row] = self._rearrange(rows[row], int(lengths[row]), epoch, int(window))
        batch = as_batch(rows, lengths)
        if self._fim is not None:
            given = torch.isin(batch["targets"], torch.tensor(self._fim.special_ids))
            batch["targets"][given] = IGNORE
        return batch

    def _rearrange(self, row: Int64s, length: int, epoch: _Epoch, window: int) -> int:
        """Rearrange in place a row of which the first `length` ids are real; return how many are now."""
        assert self._fim is not None
        key = np.array([self.seed, FIM_NOISE + 2 * epoch.number], np.uint64)
        noise = np.random.Philox(key=key, counter=window << 64).random_raw(3 * DRAWS)
        uniform = ((noise >> np.uint64(11)) * 2.0**-53).tolist()
        ids = self._fim.row(int(row[0]), row[1:length], len(row), uniform)
        row[: len(ids)], row[len(ids) :] = ids, self.shards.end_of_text
        return len(ids)

    def consumed(self, positions: int | None = None, *, epochs: int | None = None) -> Iterator[Ids]:
        """The ids in the first `positions` sequences (default: those taken so far), inputs and targets.

        A rival that counts (an n-gram) is trained on exactly these. They come epoch by epoch, in the order of
        the epoch's stream, and as the documents have them, never rearranged. A window of T targets has T + 1
        ids and shares its last with the first of the next window of the stream: where both were taken, that
        id comes once, and the two windows are one array. So an epoch that was gone through gives its whole
        stream, each id once, as one array; an epoch of which k windows were taken gives k·T + (number of
        arrays) ids, less what the stream's last window lacks. Arrays longer than 4 million ids are cut,
        without overlap. `epochs` stops after so many: with 1, no window comes twice.
        """
        left = self.position if positions is None else positions
        number = 0
        while left > 0 and (epochs is None or number < epochs):
            epoch = self._load(number)
            taken = np.sort(epoch.windows[:left])
            breaks = np.flatnonzero(np.diff(taken) > 1) + 1
            for begin, end in zip([0, *breaks], [*breaks, len(taken)], strict=True):
                start, stop = int(epoch.bounds[taken[begin]]), int(epoch.bounds[taken[end - 1] + 1]) + 1
                for cut in range(start, stop, RUN):
                    yield epoch.stream.read(np.array([cut]), np.array([min(cut + RUN, stop)]))
            left, number = left - self.windows, number + 1

    def state_dict(self) -> dict[str, Any]:
        """The cursor, and what it is only valid for: seed, context length, corpus."""
        return {"position": self.position} | self._identity()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; raises `InputError` if seed, context length or corpus differ."""
        state = {"fim_rate": 0.0} | state  # states of runs from before there was one have none
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise InputError(
                    f"the saved run read its data with {name} {state.get(name)}, but now it is {value}; "
                    "resume with the same data and settings, or start a new run"
                )
        self.position = int(state["position"])

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "context_length": self.context_length,
            "corpus": self.shards.fingerprint,
            "fim_rate": self.fim_rate,
        }

    def _load(self, number: int) -> _Epoch:
        if self._epoch is None or self._epoch.number != number:
            order = permutation(self.shards.n_documents, self.seed, 2 * number)
            windows = permutation(self.windows, self.seed, 2 * number + 1)
            stream, fim = Stream(self.shards, order), self._fim_windows(number)
            sizes = np.where(fim, self.context_length - self._room, self.context_length)
            bounds = np.minimum(np.concatenate([[0], np.cumsum(sizes)]), stream.length - 1)
            self._epoch = _Epoch(number, stream, bounds, fim, windows)
        return self._epoch

    def _fim_windows(self, number: int) -> npt.NDArray[np.bool_]:
        """Which windows of an epoch are rearranged: always as many, and never the last of the stream."""
        fim = np.zeros(self.windows, np.bool_)
        if self._fim is not None:
            targets = self.shards.n_tokens + self.shards.n_documents
            spare = self.windows * self.context_length - targets
            count = min(math.ceil(self.fim_rate * self.windows), self.windows - 1, spare // self._room)
            fim[permutation(self.windows - 1, self.seed, FIM_NOISE + 2 * number + 1)[:count]] = True
        return fim


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
        rows, lengths = read_rows(stream, number * stride, context_length + 1, shards.end_of_text)
        batch = as_batch(rows, lengths)
        batch["targets"][int(first == 0) :, : context_length - stride] = IGNORE
        yield batch


def _is_rate(fim_rate: float) -> bool:
    """Whether anything is rearranged."""
    if not 0 <= fim_rate <= 1:
        raise InputError(f"fim_rate is {fim_rate}; expected a share from 0 to 1")
    return fim_rate > 0


def _fill_in_middle(shards: TokenShards, context_length: int) -> FillInMiddle:
    if context_length < 4 * GROWTH:
        raise InputError(
            f"a context of {context_length} leaves no room to fill in the middle; expected at least "
            f"{4 * GROWTH}, or fim_rate 0"
        )
    return FillInMiddle(shards.tokenizer())


def _room(shards: TokenShards, context_length: int) -> int:
    """By how much the ids of a window may grow: GROWTH for its first piece and for each document's beginning.

    How many documents begin in a window is taken from their mean length; in one of more, some stay plain.
    """
    mean = 1 + shards.n_tokens / shards.n_documents
    return context_length - max(1, int((context_length - GROWTH) * mean / (mean + GROWTH)))


def read_rows(
    stream: Stream, begins: Int64s, width: int, padding: int, ends: Int64s | None = None
) -> tuple[Int64s, Int64s]:
    """Spans of up to `width` ids as rows, padded on the right; and how many ids of each row are real.

    Without `ends` a span has `width` ids, or what the stream has left.
    """
    ends = np.minimum(begins + width, stream.length) if ends is None else ends
    lengths = ends - begins
    rows = np.full((len(begins), width), padding, np.int64)
    rows[np.arange(width) < lengths[:, None]] = stream.read(begins, ends)
    return rows, lengths


def as_batch(rows: Int64s, lengths: Int64s) -> dict[str, Int[Tensor, "rows time"]]:
    """Inputs, and the targets that are the inputs shifted by one, IGNORE behind a row's end."""
    targets = np.where(np.arange(1, rows.shape[1]) < lengths[:, None], rows[:, 1:], IGNORE)
    return {"ids": torch.from_numpy(rows[:, :-1].copy()), "targets": torch.from_numpy(targets)}


def permutation(n: int, seed: int, stream: int) -> Int64s:
    """The numbers from 0 to n in an order that follows from (seed, stream)."""
    # Sorted random keys, because numpy freezes the bits of Philox for good, but not what its Generator
    # makes of them.
    keys = np.random.Philox(key=np.array([seed, stream], np.uint64)).random_raw(n)
    return np.argsort(keys, kind="stable")
