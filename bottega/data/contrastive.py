"""Batches of texts that belong together, for a sentence encoder: a title and a paragraph, or two paragraphs.

Which texts a batch holds follows from the seed and its number alone, so the cursor is one integer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from torch import Tensor

from bottega.data.titled import Titled
from bottega.errors import InputError

Ids = npt.NDArray[np.int32]
Encode = Callable[[list[str]], list[list[int]]]
_AT_ONCE = 4096  # texts


@dataclass(frozen=True)
class EncodedTitles:
    """Titles and paragraphs as token ids; `paragraphs[i]` are those under `titles[i]`."""

    titles: list[Ids]
    paragraphs: list[list[Ids]]

    @classmethod
    def of(cls, titled: Sequence[Titled], encode: Encode) -> EncodedTitles:
        """Encode all; `encode` puts nothing before or after a text."""
        texts = [text for one in titled for text in (one.title, *one.paragraphs)]
        encoded: list[Ids] = []
        for start in range(0, len(texts), _AT_ONCE):
            encoded += [np.array(ids, np.int32) for ids in encode(texts[start : start + _AT_ONCE])]
        left = iter(encoded)
        titles, paragraphs = [], []
        for one in titled:
            titles.append(next(left))
            paragraphs.append([next(left) for _ in one.paragraphs])
        return cls(titles, paragraphs)

    def document_frequencies(self, vocab_size: int) -> tuple[Int[Tensor, " vocabulary"], int]:
        """In how many paragraphs each token occurs, and how many paragraphs there are."""
        counts = np.zeros(vocab_size, np.int64)
        total = 0
        for one in self.paragraphs:
            for ids in one:
                counts[np.unique(ids)] += 1
                total += 1
        return torch.from_numpy(counts), total


@dataclass(frozen=True)
class PairOptions:
    """Which texts are made a pair. Raises InputError for values that make no sense."""

    titles: int | float = 0.7
    """Share of the pairs whose query is a title; that of the others is another paragraph."""
    hidden: int | float = 0.15
    """Share of those in whose paragraph the title's words are left out, so that the rest has to tell."""
    openings: int | float = 0.3
    """Share of the pairs whose document is the text's beginning, where most titles are looked for."""
    length: int = 64
    """Tokens of a paragraph, cut anywhere, and of a title, cut behind them."""

    def __post_init__(self) -> None:
        shares = (self.titles, self.hidden, self.openings)
        if not all(0 <= share <= 1 for share in shares):
            raise InputError(f"titles, hidden and openings are shares from 0 to 1, not {shares}")
        if self.length < 1:
            raise InputError(f"length must be at least 1 token, not {self.length}")


class ContrastivePairs:
    """Batches {"query", "document"} of ids (batch × time), padded; no two rows are of one document."""

    def __init__(
        self,
        data: EncodedTitles,
        batch_size: int,
        pad: int,
        options: PairOptions,
        frame: tuple[list[int], list[int]] = ([], []),
        seed: int = 0,
    ) -> None:
        if len(data.titles) < batch_size:
            raise InputError(
                f"{len(data.titles)} titles make no batch of {batch_size} different ones; lower batch_size"
            )
        self.data, self.batch_size, self.pad, self.options = data, batch_size, pad, options
        self.frame, self.seed, self.step = frame, seed, 0

    def next_batch(self) -> dict[str, Tensor]:
        """The batch of this step."""
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, self.step], np.uint64)))
        self.step += 1
        rows = rng.choice(len(self.data.titles), self.batch_size, replace=False)
        pairs = [self._pair(int(row), rng) for row in rows]
        return self._batch(pairs)

    def in_order(self) -> Iterator[dict[str, Tensor]]:
        """Each title once with its last paragraph, in whole batches: for validation."""
        pairs = [
            (title[: self.options.length], paragraphs[-1][: self.options.length])
            for title, paragraphs in zip(self.data.titles, self.data.paragraphs, strict=True)
        ]
        for start in range(0, len(pairs) - self.batch_size + 1, self.batch_size):
            yield self._batch(pairs[start : start + self.batch_size])

    def state_dict(self) -> dict[str, Any]:
        """The cursor."""
        return {"step": self.step, "seed": self.seed, "titles": len(self.data.titles)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go where the cursor says; InputError where it is of other data."""
        here = self.state_dict() | {"step": state.get("step")}
        if state != here:
            raise InputError(f"the run was begun on other data ({state}, now {here}); give the same --data")
        self.step = int(state["step"])

    def _pair(self, row: int, rng: np.random.Generator) -> tuple[Ids, Ids]:
        title, paragraphs = self.data.titles[row], self.data.paragraphs[row]
        opening = rng.random() < self.options.openings
        document = paragraphs[0][: self.options.length] if opening else self._some(paragraphs, rng)
        if len(paragraphs) > 1 and rng.random() >= self.options.titles:
            return self._some(paragraphs, rng), document
        if rng.random() < self.options.hidden:
            rest = document[~np.isin(document, title)]
            document = rest if len(rest) else document
        return title[: self.options.length], document

    def _some(self, paragraphs: list[Ids], rng: np.random.Generator) -> Ids:
        """A stretch of one of them."""
        one = paragraphs[rng.integers(len(paragraphs))]
        start = int(rng.integers(max(1, len(one) - self.options.length + 1)))
        return one[start : start + self.options.length]

    def _batch(self, pairs: Sequence[tuple[Ids, Ids]]) -> dict[str, Tensor]:
        return {
            name: self._padded([pair[side] for pair in pairs])
            for side, name in enumerate(("query", "document"))
        }

    def _padded(self, rows: Sequence[Ids]) -> Tensor:
        begin, end = self.frame
        longest = max(map(len, rows)) + len(begin) + len(end)
        ids = np.full((len(rows), longest), self.pad, np.int64)
        for line, row in zip(ids, rows, strict=True):
            whole = [*begin, *row, *end]
            line[: len(whole)] = whole
        return torch.from_numpy(ids)
