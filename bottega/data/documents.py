"""Where documents come from: files, folders, the catalog's data sets, the Hub; one in memory at a time."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bottega.data import catalog, hub
from bottega.data.files import NotTextError, cut, inner_suffix, read_jsonl, read_parquet, read_text
from bottega.errors import InputError

# A text file is one document up to WHOLE characters. A longer one is cut into pieces, so that it need not fit
# in memory; a boundary every PIECE characters costs no context worth naming.
WHOLE, PIECE = 1_000_000, 64_000

Report = Callable[[str], None]
_warn: Report = logging.getLogger(__name__).warning


@dataclass(frozen=True)
class Document:
    """A text that stands by itself, and its name (a path, module or record) for messages and splits."""

    text: str
    name: str


def read_documents(
    sources: Sequence[str | Path], text_field: str = "text", *, report: Report = _warn
) -> Iterator[Document]:
    """Yield the documents of every source, in order; the order of a folder is that of its sorted paths.

    A source is a file (text of any suffix; `.jsonl`, `.parquet` by their column `text_field`; compressed as
    `.gz`, `.xz` or `.zst`), a folder of such files, a name in the catalog, `hf://datasets/OWNER/NAME[:CONFIG]`,
    or `embedded`: the embedded corpus without what its own split holds out.
    A folder's hidden files are passed over; those that are not text are skipped, and `report` hears how many;
    it also hears of a source that takes some seconds.
    Raises `InputError` for a source that is not there, holds no text, or is damaged.
    """
    if isinstance(sources, str | Path):  # a str is a sequence of str, and would be read letter by letter
        sources = [sources]
    if not sources:
        raise InputError("no source given; name a file, a folder or a data set")
    for source in sources:
        documents = _read_source(source, text_field, report)
        if (first := next(documents, None)) is None:
            raise InputError(f"{source}: holds no text; give a file or folder with some")
        yield from itertools.chain([first], documents)


def _read_source(source: str | Path, text_field: str, report: Report) -> Iterator[Document]:
    path = Path(source)
    if str(source).startswith(hub.PREFIX):
        records = hub.stream_records(str(source))
        for number, record in enumerate(records):
            yield from _record(record, text_field, f"{source}, record {number}")
    elif path.is_dir():
        yield from _read_folder(path, text_field, report)
    elif path.exists():
        yield from read_file(path, text_field)
    elif str(source) in catalog.names():
        for file in catalog.locate(str(source)):
            yield from read_file(file, text_field)
    elif str(source) == "embedded":
        from bottega.data.embedded import READING, embedded_documents  # which knows documents itself

        report(READING)
        yield from embedded_documents()[0]
    else:
        known = ", ".join(["embedded", *catalog.names()])
        raise InputError(f"{source}: no such file, folder or data set (data sets are {known})")


def _read_folder(folder: Path, text_field: str, report: Report) -> Iterator[Document]:
    skipped: list[str] = []
    for path in _walk(folder):
        documents = read_file(path, text_field)
        try:
            first = next(documents, None)
        except (NotTextError, PermissionError):
            skipped.append(str(path.relative_to(folder)))
            continue
        # Its first megabyte has shown that the file is text: whatever is wrong further on is an error.
        yield from documents if first is None else itertools.chain([first], documents)
    if skipped:
        some = ", ".join(skipped[:3]) + (", …" if len(skipped) > 3 else "")
        report(f"{folder}: skipped {len(skipped):,} of its files, not text or not readable ({some})")


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in sorted(files):
            path = Path(parent, name)
            if not name.startswith(".") and path.is_file():  # no pipe, no socket, no broken link
                yield path


def read_file(path: Path, text_field: str = "text") -> Iterator[Document]:
    """Yield the documents of one file: records of `.jsonl` or `.parquet`, otherwise the text, cut if long."""
    kind = inner_suffix(path)
    if kind in (".jsonl", ".ndjson"):
        for number, record in read_jsonl(path):
            yield from _record(record, text_field, f"{path}, line {number}")
    elif kind == ".parquet":
        for row, value in enumerate(read_parquet(path, text_field)):
            yield from _record({text_field: value}, text_field, f"{path}, row {row}")
    else:
        chunks = read_text(path)
        head = ""
        while len(head) <= WHOLE and (chunk := next(chunks, None)) is not None:
            head += chunk
        if len(head) <= WHOLE:
            yield from _document(head, str(path))
            return
        for number, piece in enumerate(cut(itertools.chain([head], chunks), PIECE), start=1):
            yield from _document(piece, f"{path}, piece {number}")


def _record(record: dict[str, object], text_field: str, name: str) -> Iterator[Document]:
    if text_field not in record:
        fields = ", ".join(record)
        raise InputError(f"{name}: no field {text_field!r} among {fields}; name one with --text-field")
    text = record[text_field]
    if not isinstance(text, str):
        raise InputError(f"{name}: field {text_field!r} holds {type(text).__name__}, but expected a string")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: character {error.start:,} is half a surrogate pair; correct it") from None
    yield from _document(text, name)


def _document(text: str, name: str) -> Iterator[Document]:
    if text.strip():
        yield Document(text, name)
