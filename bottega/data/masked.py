"""Batches for BERT's two tasks: hidden tokens, and whether a span follows another (Devlin et al. 2018, A.2).

A row is [CLS] A [SEP] B [SEP], where A and B are spans of documents that begin anywhere. What a batch holds
follows from the seed and its number alone, so the cursor is one integer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bottega.errors import InputError
from bottega.nn.loss import IGNORE

Ids = npt.NDArray[np.int32]
MASKED = 0.15  # of the tokens of a row are to be guessed …
HIDDEN, REPLACED = 0.8, 0.1  # … and of these so many become [MASK], so many any token; the others stay
NEXT = 0.5  # of the rows have in B what follows A


@dataclass(frozen=True)
class Vocabulary:
    """The size, the ids of the special tokens, and the first of the ordinary ones."""

    size: int
    pad: int
    cls: int
    sep: int
    mask: int

    @property
    def special(self) -> tuple[int, ...]:
        """The ids that no text has."""
        return self.pad, self.cls, self.sep, self.mask


class MaskedPairs:
    """Batches {"ids", "segments", "targets" (batch × time), "next" (batch)} of `documents`, token ids each.

    `targets` is IGNORE but where a token is to be guessed; `next` is 0 where B follows A. Raises InputError
    where fewer than two documents are long enough, or the rows have no room.
    """

    def __init__(
        self,
        documents: Sequence[Ids],
        vocabulary: Vocabulary,
        batch_size: int,
        context_length: int,
        seed: int = 0,
    ) -> None:
        if context_length < 8:
            raise InputError(f"a context of {context_length} has no room for two spans; expected at least 8")
        self.documents = [ids for ids in documents if len(ids) >= 4]
        if len(self.documents) < 2:
            raise InputError(
                f"{len(self.documents)} documents of 4 tokens or more, to train on or held out; each part "
                "needs at least 2, to tell what follows from what does not; give more text"
            )
        self.ends = np.cumsum([len(ids) for ids in self.documents])
        self.vocabulary, self.batch_size, self.time, self.seed = vocabulary, batch_size, context_length, seed
        self.step = 0

    @property
    def n_tokens(self) -> int:
        """Of all documents."""
        return int(self.ends[-1])

    def next_batch(self) -> dict[str, Tensor]:
        """The batch of this step."""
        rng = _generator(self.seed, self.step)
        self.step += 1
        return self._batch(
            [self._place(int(rng.integers(self.n_tokens))) for _ in range(self.batch_size)], rng
        )

    def in_order(self, rows: int) -> Iterator[dict[str, Tensor]]:
        """Every document from end to end, but for a last few tokens, hidden the same way at each call."""
        room = self.time - 3
        places = [
            (i, start) for i, ids in enumerate(self.documents) for start in range(0, len(ids) - 3, room)
        ]
        for number, first in enumerate(range(0, len(places), rows)):
            yield self._batch(places[first : first + rows], _generator(self.seed + 1, number))

    def state_dict(self) -> dict[str, Any]:
        """The cursor."""
        return {"step": self.step, "seed": self.seed, "tokens": self.n_tokens}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go where the cursor says; InputError where it is of other data."""
        here = self.state_dict() | {"step": state.get("step")}
        if state != here:
            raise InputError(f"the run was begun on other data ({state}, now {here}); give the same --data")
        self.step = int(state["step"])

    def _place(self, position: int) -> tuple[int, int]:
        """The document that a position of the corpus is in, and a beginning that leaves something to read."""
        number = int(np.searchsorted(self.ends, position, side="right"))
        start = position - int(self.ends[number]) + len(self.documents[number])
        return number, min(start, len(self.documents[number]) - 4)

    def _batch(self, places: Sequence[tuple[int, int]], rng: np.random.Generator) -> dict[str, Tensor]:
        shape = (len(places), self.time)
        ids, segments = np.full(shape, self.vocabulary.pad, np.int64), np.zeros(shape, np.int64)
        targets, order = np.full(shape, IGNORE, np.int64), np.zeros(len(places), np.int64)
        for row, (number, start) in enumerate(places):
            first, second, order[row] = self._spans(number, start, rng)
            whole = [self.vocabulary.cls, *first, self.vocabulary.sep, *second, self.vocabulary.sep]
            ids[row, : len(whole)] = whole
            segments[row, len(first) + 2 : len(whole)] = 1
            self._hide(ids[row], targets[row], rng)
        arrays = {"ids": ids, "segments": segments, "targets": targets, "next": order}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _spans(self, number: int, start: int, rng: np.random.Generator) -> tuple[Ids, Ids, int]:
        """A, B, and whether B is from elsewhere; together they fill the row as far as the document goes."""
        span = self.documents[number][start : start + self.time - 3]
        cut = int(rng.integers(1, len(span)))
        first, second = span[:cut], span[cut:]
        if rng.random() < NEXT:
            return first, second, 0
        other = int(rng.integers(len(self.documents) - 1))
        text = self.documents[other + (other >= number)]
        begin = int(rng.integers(max(1, len(text) - len(second) + 1)))
        return first, text[begin : begin + len(second)], 1

    def _hide(
        self, ids: npt.NDArray[np.int64], targets: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> None:
        """Choose the tokens to be guessed, and put in their places what the model shall see."""
        ordinary = np.flatnonzero(~np.isin(ids, self.vocabulary.special))
        chosen = rng.permutation(ordinary)[: max(1, round(MASKED * len(ordinary)))]
        targets[chosen] = ids[chosen]
        kinds = rng.random(len(chosen))
        ids[chosen[kinds < HIDDEN]] = self.vocabulary.mask
        replaced = chosen[(kinds >= HIDDEN) & (kinds < HIDDEN + REPLACED)]
        ids[replaced] = rng.integers(1 + max(self.vocabulary.special), self.vocabulary.size, len(replaced))


def _generator(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
