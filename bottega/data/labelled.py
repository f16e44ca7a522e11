"""Labelled texts, for classifiers: from the catalog, from files with a text and a label a line, or embedded.

Without torch.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bottega.data import catalog
from bottega.data.documents import Report
from bottega.data.files import inner_suffix, read_jsonl, read_lines
from bottega.data.splits import by_hash
from bottega.errors import InputError

HELD_OUT = 0.1  # of the texts of a file, by a hash of each text

Example = tuple[str, str]  # text, label


@dataclass(frozen=True)
class Labelled:
    """As many labels as texts."""

    texts: list[str]
    labels: list[str]

    def __len__(self) -> int:
        return len(self.texts)


def open_labelled(
    data: Sequence[str],
    text_field: str = "text",
    label_field: str = "label",
    *,
    report: Report = lambda _line: None,
) -> tuple[Labelled, Labelled]:
    """Return the training and the held-out part of labelled data.

    Each of `data` is a data set of the catalog with labels (sst2, trec, rte, cb), which has its own split; a
    file, of which a tenth is held out by a hash of each text; or `embedded`: sentences that begin the
    docstrings of the installed packages, labelled by the package, whole modules held out; reading them takes
    seconds, and `report` hears of it.
    Raises `InputError` where there is no such source, or it is damaged.
    """
    if not data:
        raise InputError(f"no data given; name a file with a text and a label a line, or one of {_known()}")
    training, held_out = [], []
    for source in data:
        one, other = _open(source, text_field, label_field, report)
        training += one
        held_out += other
    return _labelled(training), _labelled(held_out)


def held_out_labelled(
    source: str,
    text_field: str = "text",
    label_field: str = "label",
    *,
    report: Report = lambda _line: None,
) -> Labelled:
    """Return what a classifier may be measured on: the held-out part of a named source, or all of a file.

    Raises `InputError` as `open_labelled` does.
    """
    if Path(source).is_file():
        return _labelled(list(read_labelled_file(Path(source), text_field, label_field)))
    return open_labelled([source], text_field, label_field, report=report)[1]


def _open(
    source: str, text_field: str, label_field: str, report: Report
) -> tuple[list[Example], list[Example]]:
    path = Path(source)
    if path.is_file():
        examples = list(read_labelled_file(path, text_field, label_field))
        held = [by_hash(text, HELD_OUT) for text, _label in examples]
        return (
            [example for example, out in zip(examples, held, strict=True) if not out],
            [example for example, out in zip(examples, held, strict=True) if out],
        )
    if source == "embedded":
        from bottega.data.docstrings import docstring_examples
        from bottega.data.embedded import READING

        report(READING)
        return docstring_examples()
    if source in _READERS:
        first, second = (list(_READERS[source](file)) for file in catalog.locate(source))
        return first, second
    reason = "a folder" if path.is_dir() else "a data set without labels"
    reason = reason if path.is_dir() or source in catalog.names() else "no such file"
    raise InputError(f"{source}: {reason}; give a .jsonl, .tsv or .csv with labels, or one of {_known()}")


def read_labelled_file(path: Path, text_field: str = "text", label_field: str = "label") -> Iterator[Example]:
    """Yield (text, label) of a .jsonl, .tsv or .csv file, which may be compressed.

    A .jsonl record has both fields; without a text field, `premise` and `hypothesis` are joined by a line's
    end. The first line of a table may name the columns; else there are two, text and label.
    Raises `InputError` with the line where it is damaged, `NotTextError` where it is not UTF-8.
    """
    kind = inner_suffix(path)
    if kind in (".jsonl", ".ndjson"):
        for number, record in read_jsonl(path):
            where = f"{path}, line {number}"
            pair = text_field not in record and {"premise", "hypothesis"} <= record.keys()
            names = ("premise", "hypothesis") if pair else (text_field,)
            yield "\n".join(_value(record, name, where) for name in names), _label(record, label_field, where)
    elif kind in (".tsv", ".csv"):
        yield from _table(path, text_field, label_field, kind)
    else:
        raise InputError(f"{path}: expected .jsonl, .tsv or .csv, with a text and a label a line")


def _value(record: dict[str, object], name: str, where: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        had = f"holds {type(value).__name__}" if name in record else f"is not among {', '.join(record)}"
        raise InputError(f"{where}: the field {name!r} {had}; expected a string")
    return _sound(value, name, where)


def _sound(value: str, name: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{where}: half a surrogate pair in {name!r}; correct it") from None
    return value


def _label(record: dict[str, object], name: str, where: str) -> str:
    value = record.get(name)
    if isinstance(value, str | int) and str(value).strip():
        return _sound(str(value).strip(), name, where)
    raise InputError(f"{where}: the label {name!r} is {value!r}; expected a word or a whole number")


def _table(path: Path, text_field: str, label_field: str, kind: str) -> Iterator[Example]:
    dialect = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if kind == ".tsv" else {"delimiter": ","}
    reader = csv.reader((line + "\n" for line in _text_lines(path)), **dialect)
    columns: tuple[int, int] | None = None
    width = 2
    try:
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if columns is None:
                names = {text_field, label_field} & set(row)
                if len(names) == 1:
                    raise InputError(
                        f"{where}: a column is called {names.pop()!r}, but none {text_field!r} with "
                        f"{label_field!r}; name the columns with --text-field and --label-field"
                    )
                named = bool(names)
                columns = (row.index(text_field), row.index(label_field)) if named else (0, 1)
                width = len(row) if named else 2
                if named:
                    continue
            if not row:
                continue
            if len(row) != width:
                raise InputError(f"{where}: {len(row)} columns, expected {width}")
            if not (label := row[columns[1]].strip()):
                raise InputError(f"{where}: no label")
            yield row[columns[0]], label
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None


def _text_lines(path: Path) -> Iterator[str]:
    for number, line in enumerate(read_lines(path), start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}, line {number}: its byte {error.start:,} is not UTF-8; convert the file"
            ) from None


def _sentiment(path: Path) -> Iterator[Example]:
    """SST-2 (Socher et al. 2013) calls its classes 0 and 1."""
    for text, label in _table(path, "text", "label", ".tsv"):
        yield text, {"0": "negative", "1": "positive"}[label]


def _questions(path: Path) -> Iterator[Example]:
    """TREC (Li and Roth 2002): `NUM:dist How far …`, of which the coarse label is taken."""
    for line in _text_lines(path):
        label, _, text = line.partition(" ")
        yield text, label.partition(":")[0]


_READERS: dict[str, Callable[[Path], Iterator[Example]]] = {
    "sst2": _sentiment,
    "trec": _questions,
    "rte": read_labelled_file,
    "cb": read_labelled_file,
}


def _known() -> str:
    return ", ".join(["embedded", *_READERS])


def _labelled(examples: list[Example]) -> Labelled:
    return Labelled([text for text, _ in examples], [label for _, label in examples])
