"""Pairs of sentences that say the same in two languages: read, checked, counted.

A pair with an empty side is left out and counted, for it teaches a translator to say nothing or to invent.
Files that do not fit together, and bytes that are no text, are errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bottega.data import catalog
from bottega.data.files import inner_suffix, read_jsonl, read_lines
from bottega.data.numbers import number_pairs
from bottega.data.splits import by_hash
from bottega.errors import InputError

# The special tokens of a translator's vocabulary, under the names that tokenizer_config.json has for them.
PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
SPECIAL_TOKENS = {"pad_token": PAD, "bos_token": BOS, "eos_token": EOS}

SPLITS = ("train", "val", "test")
HELD_OUT = 0.01  # of a source that comes without splits: for val, and as much for test
Pair = tuple[str, str]


@dataclass(frozen=True)
class Pairs:
    """Sentences and their translations, side by side; `empty` counts the pairs left out for an empty side."""

    source: list[str] = field(default_factory=list)
    target: list[str] = field(default_factory=list)
    empty: int = 0

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Pair]:
        return zip(self.source, self.target, strict=True)

    def where(self, keep: Callable[[str, str], bool]) -> Pairs:
        """Those pairs for which `keep(source, target)` says so."""
        kept = [pair for pair in self if keep(*pair)]
        return Pairs([source for source, _ in kept], [target for _, target in kept], self.empty)


def read_pairs(
    data: Sequence[str], source_language: str, target_language: str, split: str = "train"
) -> Pairs:
    """The pairs of a split ("train", "val" or "test") of all the sources of `data`, one source after another.

    A source is one of

    - `multi30k`, from the catalog, with its own splits (`test` is test_2016_flickr); `multi30k:en-de` says
      the languages too, which must then be these;
    - `tatoeba-en-fr` or `tatoeba-en-de`, in either direction;
    - `embedded`: numbers in words ("en") and in digits ("digits"), made by this program, in either direction;
    - a file of pairs: `.tsv` (two columns), or `.jsonl` with a field for each language;
    - two files that are aligned by line, joined by a comma: `corpus.en,corpus.de`, the source's first.

    What comes without splits is split by a hash of the source sentence: 1 % are `val`, 1 % `test`. Raises
    InputError for a source that is none of these, files of unequal length (both counts are named), a damaged
    line, and where no pair is left.
    """
    if split not in SPLITS:
        raise InputError(f"there is no split {split!r}; expected one of {', '.join(SPLITS)}")
    if not data:
        raise InputError("no pairs given; name multi30k, tatoeba-en-fr, embedded or files")
    result, empty = Pairs(), 0
    for name in data:
        for source, target in _read(name, (source_language, target_language), split):
            source, target = source.strip(), target.strip()
            if source and target:
                result.source.append(source)
                result.target.append(target)
            else:
                empty += 1
    if not result:
        raise InputError(f"{', '.join(data)}: no pairs in the split {split}; give more text")
    return Pairs(result.source, result.target, empty)


def _read(name: str, languages: Pair, split: str) -> Iterable[Pair]:
    known, _, asked = name.partition(":")
    if asked and asked != "-".join(languages):
        raise InputError(
            f"{name} is for {asked}, but the languages are {'-'.join(languages)}; set --source-language and "
            "--target-language"
        )
    if known == "multi30k":
        return _multi30k(languages, split)
    if known.startswith("tatoeba-") and known in catalog.names():
        return _of_split(_jsonl(catalog.locate(known)[0], languages), split)
    if known == "embedded":
        return _of_split(number_pairs(languages), split)
    return _of_split(_files(name, languages), split)


def _multi30k(languages: Pair, split: str) -> Iterable[Pair]:
    stem = {"test": "test_2016_flickr"}.get(split, split)
    files = {path.name: path for path in catalog.locate("multi30k")}
    try:
        paths = [files[f"{stem}.{language}.gz"] for language in languages]
    except KeyError:
        raise InputError(f"multi30k has en, de and fr, not both of {' and '.join(languages)}") from None
    return aligned(*paths)


def _files(name: str, languages: Pair) -> Iterable[Pair]:
    paths = [Path(part) for part in name.split(",")]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        known = ", ".join(["multi30k", *(n for n in catalog.names() if n.startswith("tatoeba-")), "embedded"])
        raise InputError(
            f"{missing[0]}: no such file of pairs (known by name: {known}; two aligned files are FILE,FILE)"
        )
    if len(paths) == 2:
        return aligned(*paths)
    if len(paths) == 1 and inner_suffix(paths[0]) in (".jsonl", ".ndjson"):
        return _jsonl(paths[0], languages)
    if len(paths) == 1 and inner_suffix(paths[0]) == ".tsv":
        return _tsv(paths[0])
    raise InputError(f"{name}: expected a .tsv, a .jsonl, or two aligned files as FILE,FILE")


def aligned(source: Path, target: Path) -> Iterator[Pair]:
    """The lines of two files side by side; InputError naming both counts where they are not equally many."""
    first, second = list(text_lines(source)), list(text_lines(target))
    if len(first) != len(second):
        raise InputError(
            f"{source} has {len(first):,} lines and {target} has {len(second):,}: they are not aligned; each "
            "line needs its translation on the same line of the other file"
        )
    return zip(first, second, strict=True)


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file; InputError that names the line where it is not."""
    for number, line in enumerate(read_lines(path), start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}, line {number}: byte 0x{line[error.start]:02x} is not UTF-8; convert the file "
                "(`iconv -f LATIN1 -t UTF-8` if it is Latin-1)"
            ) from None


def _jsonl(path: Path, languages: Pair) -> Iterator[Pair]:
    for number, record in read_jsonl(path):
        source, target = (record.get(language) for language in languages)
        if not isinstance(source, str) or not isinstance(target, str):
            raise InputError(
                f"{path}, line {number}: expected strings in the fields {' and '.join(languages)}; it has "
                f"{', '.join(record) or 'none'}"
            )
        try:
            (source + target).encode()
        except UnicodeEncodeError:
            raise InputError(f"{path}, line {number}: half a surrogate pair; correct it") from None
        yield source, target


def _tsv(path: Path) -> Iterator[Pair]:
    for number, line in enumerate(text_lines(path), start=1):
        columns = line.split("\t")
        if len(columns) != 2:
            raise InputError(f"{path}, line {number}: {len(columns)} columns, expected source, tab, target")
        yield columns[0], columns[1]


def _of_split(pairs: Iterable[Pair], split: str) -> Iterator[Pair]:
    """Those pairs whose source sentence falls to the split: all translations of a sentence fall together."""
    for pair in pairs:
        key = normalised(pair[0])
        test, val = by_hash(key, HELD_OUT), by_hash(key, 2 * HELD_OUT)
        if ("test" if test else "val" if val else "train") == split:
            yield pair


def normalised(sentence: str) -> str:
    """What two sentences have in common that differ in case, punctuation or spaces alone."""
    return " ".join(re.findall(r"\w+", sentence.casefold()))
