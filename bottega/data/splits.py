"""Training and held-out documents: which side a document is on follows from its text alone."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence

from bottega.data.documents import Document
from bottega.data.files import cut
from bottega.data.near_duplicates import without_copies
from bottega.errors import InputError

FEW = 20  # documents; a corpus of fewer is cut into more


def split_documents(
    documents: Iterable[Document], held_out: float | None = None, seed: int = 0
) -> tuple[list[Document], list[Document]]:
    """Split documents into training and held-out ones by a hash of each text; `hold_out` tells the share.

    Training documents that are near-copies of held-out ones are left out. Both lists keep the order.
    Raises `InputError` where the corpus is too small to hold anything out.
    """
    documents = list(documents)
    held = hold_out(documents, held_out, seed)
    return list(training_part(documents, held)), held


def hold_out(documents: Iterable[Document], held_out: float | None = None, seed: int = 0) -> list[Document]:
    """Return the held-out documents of a corpus, which is read once and not kept.

    `held_out` is the expected share, or None for 1 %, but at least 100 kB where that is under a tenth of the
    corpus, and at most 2 MB: less would say little, more would only cost time at every validation.
    A corpus of fewer than 20 documents is cut into pieces first.
    """
    chosen: list[tuple[float, Document]] = []
    lowest: tuple[float, Document] | None = None
    total = count = 0
    for document in _enough(documents):
        count += 1
        total += len(document.text)
        point = place(document.text, seed)
        if lowest is None or point < lowest[0]:
            lowest = point, document
        # The share only ever falls as the corpus grows: what is out now would be out at the end.
        if point < _share(held_out, total):
            chosen.append((point, document))
        if len(chosen) % 1000 == 999:
            chosen = [pair for pair in chosen if pair[0] < _share(held_out, total)]
    if count < 2 or lowest is None:
        raise InputError(
            f"corpus too small to hold anything out: {total:,} characters in {count} document; "
            "give at least a few kB, or several documents"
        )
    held = [document for point, document in chosen if point < _share(held_out, total)]
    return held or [lowest[1]]


def training_part(documents: Iterable[Document], held_out: Sequence[Document]) -> Iterator[Document]:
    """Yield the documents that are neither held out nor near-copies of those, cut as `hold_out` cuts.

    Raises `InputError` where there are none.
    """
    held = {document.text for document in held_out}
    left = without_copies(
        (document for document in _enough(documents) if document.text not in held), held_out
    )
    if (first := next(left, None)) is None:
        raise InputError("corpus too repetitive to hold anything out: all the rest copies it; give more text")
    yield from itertools.chain([first], left)


def by_hash(key: str, share: float, seed: int = 0) -> bool:
    """Tell whether what goes by this key is held out, when a share of all keys is."""
    return place(key, seed) < share


def place(key: str, seed: int = 0) -> float:
    """Return a number in [0, 1) that follows from the key and the seed, the same on every machine."""
    digest = hashlib.blake2b(key.encode(), digest_size=8, key=seed.to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "little") / 2**64


def _share(held_out: float | None, total: int) -> float:
    return min(0.1, max(100_000 / total, min(0.01, 2_000_000 / total))) if held_out is None else held_out


def _enough(documents: Iterable[Document]) -> Iterator[Document]:
    """Yield the documents, or pieces where they are few: a single book has a held-out part too."""
    iterator = iter(documents)
    first = list(itertools.islice(iterator, FEW))
    if len(first) == FEW:
        yield from itertools.chain(first, iterator)
        return
    size = min(16_000, max(500, sum(len(document.text) for document in first) // 100))
    for document in first:
        pieces = list(cut([document.text], size))
        for number, piece in enumerate(pieces, start=1):
            name = f"{document.name}, piece {number}" if len(pieces) > 1 else document.name
            yield Document(piece, name)
