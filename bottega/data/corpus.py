"""A whole corpus, from the names of its sources to its training and held-out documents."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from bottega.data.documents import Document, Report, read_documents
from bottega.data.embedded import READING, embedded_documents
from bottega.data.near_duplicates import without_copies
from bottega.data.splits import hold_out, training_part
from bottega.errors import InputError


def open_corpus(
    sources: Sequence[str], text_field: str = "text", held_out: float | None = None, *, report: Report
) -> tuple[Iterator[Document], list[Document]]:
    """Return a corpus' training documents, streamed, and its held-out ones.

    `sources` are those of `read_documents`; they are read twice, once for each part, so that no more than the
    held-out part is ever in memory. Among them, `embedded` comes with its own split by module, which a
    `held_out` cannot change. `held_out` is the share, as in `hold_out`; with 0 everything is for training.
    """
    if held_out is not None and not 0 <= held_out < 1:
        raise InputError(f"held-out share {held_out}, expected 0 or more and less than 1, such as 0.01")
    embedded = "embedded" in sources and not Path("embedded").exists()
    if embedded and held_out is not None:
        raise InputError("the embedded corpus has its own split by module; leave --held-out away")
    if held_out == 0:
        return read_documents(sources, text_field, report=report), []
    if embedded:
        report(READING)
    training, held = embedded_documents() if embedded else ([], [])
    others = [source for source in sources if not (embedded and source == "embedded")]
    if others or not embedded:
        held = held + hold_out(read_documents(others, text_field, report=report), held_out)
        # The first reading has reported already.
        again = training_part(read_documents(others, text_field, report=lambda _line: None), held)
        return itertools.chain(without_copies(training, held), again), held
    return iter(training), held
