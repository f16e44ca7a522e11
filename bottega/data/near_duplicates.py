"""Training documents that copy held-out ones, counted exactly, for the held-out side is small.

A shingle is a run of 32 letters, spaces and case left out: about six words (Broder, 1997, *On the
resemblance and containment of documents*). MinHash, which estimates what is counted here, pays where both
sides are large.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from bottega.data.documents import Document

Hashes = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]
Numbers = TypeVar("Numbers", Hashes, Int64s)

SHINGLE = 32  # bytes; a power of two, so that five doublings hash it
COPIED = 0.5  # the share of its shingles from which on a document counts as a copy
_BATCH = 1 << 22  # bytes of text looked up at a time
_FOLD = bytes(range(256)).lower()
_SPACES = b" \t\r\n\v\f"
_ODD = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: spreads neighbouring hashes (Knuth, vol. 3, 6.4)


def without_copies(documents: Iterable[Document], held_out: Sequence[Document]) -> Iterator[Document]:
    """Yield the documents that are no near-copies of a held-out one.

    A copy has half its shingles in held-out documents, or holds half of the shingles of one of them.
    """
    index = _Index(list({document.text: None for document in held_out}))  # each text once, in order
    for batch in _batches(documents):
        copied = index.copied([document.text for document in batch])
        yield from (document for document, is_copy in zip(batch, copied, strict=True) if not is_copy)


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Index:
    """All shingles of the held-out documents, each with the first document that has it."""

    def __init__(self, texts: Sequence[str]) -> None:
        hashes, owners = _shingles(texts)
        hashes, owners = _distinct(hashes, owners)
        self.sizes = np.bincount(owners, minlength=len(texts))
        # What a tenth of the held-out documents share is boilerplate (a licence, a header), no copy.
        self.hashes, first, count = np.unique(hashes, return_index=True, return_counts=True)
        own = count <= max(2, len(texts) // 10)
        self.hashes, self.owners = self.hashes[own], owners[first[own]]
        # A table of one byte a slot answers nearly all look-ups, which are for shingles that are not there.
        self.shift = np.uint64(64 - max(16, int(16 * len(self.hashes)).bit_length()))
        self.table = np.zeros(1 << (64 - int(self.shift)), bool)
        self.table[self._slots(self.hashes)] = True

    def _slots(self, hashes: Hashes) -> Hashes:
        slots: Hashes = (hashes * np.uint64(_ODD)) >> self.shift
        return slots

    def copied(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Tell for each text whether it is a near-copy."""
        hashes, documents = _shingles(texts)
        totals = np.bincount(documents, minlength=len(texts))
        maybe = self.table[self._slots(hashes)]
        hashes, documents = hashes[maybe], documents[maybe]
        place = np.searchsorted(self.hashes, hashes)
        found = place < len(self.hashes)
        found[found] = self.hashes[place[found]] == hashes[found]
        place, documents = place[found], documents[found]
        covered = np.bincount(documents, minlength=len(texts)) >= np.maximum(1, COPIED * totals)
        # How much of whom a document holds: distinct (shingle, document) pairs, counted by (owner, document).
        place, documents = _distinct(place, documents)
        (owner, taker), count = np.unique(
            np.stack([self.owners[place], documents]), axis=1, return_counts=True
        )
        covered[taker[count >= COPIED * self.sizes[owner]]] = True
        return covered


def _distinct(first: Numbers, second: Int64s) -> tuple[Numbers, Int64s]:
    """Return the distinct pairs of two columns, sorted; numpy's unique(axis=1) takes ten times as long."""
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    new = np.ones(len(first), bool)
    new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return first[new], second[new]


def _shingles(texts: Sequence[str]) -> tuple[Hashes, Int64s]:
    """Hash every run of SHINGLE bytes of each text; return the hashes and the text number of each."""
    folded = [text.encode().translate(_FOLD, _SPACES) for text in texts]
    lengths = np.array([len(data) for data in folded], np.int64)
    hashes = _rolling_hashes(np.frombuffer(b"".join(folded), np.uint8))
    of_text = np.repeat(np.arange(len(texts)), lengths)[: len(hashes)]
    ends = np.cumsum(lengths)
    inside = np.arange(len(hashes)) <= ends[of_text] - SHINGLE  # a window may not reach into the next text
    return hashes[inside], of_text[inside]


def _rolling_hashes(data: npt.NDArray[np.uint8]) -> Hashes:
    """Hash every window of SHINGLE bytes: h₂ₙ(i) = mix(hₙ(i)·a + hₙ(i+n)), so five steps make 32."""
    hashes: Hashes = data.astype(np.uint64) + np.uint64(1)
    width = 1
    while width < SHINGLE and len(hashes) > width:
        hashes = hashes[:-width] * np.uint64(_ODD) + hashes[width:]
        hashes ^= hashes >> np.uint64(29)  # without it the middle two of four bytes could change places
        width *= 2
    return hashes if width == SHINGLE else hashes[:0]
