"""Pairs of sentences that say the same in two languages: read, checked, counted.

A pair with an empty side is left out and counted, for it teaches a translator to say nothing or to invent.
Files that do not fit together, and bytes that are no text, are errors.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bottega.data import catalog
from bottega.data.files import inner_suffix, read_jsonl, read_lines
from bottega.data.numbers import number_pairs
from bottega.data.splits import place
from bottega.errors import InputError

# The special tokens of a translator's vocabulary, under the names that tokenizer_config.json has for them.
PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
SPECIAL_TOKENS = {"pad_token": PAD, "bos_token": BOS, "eos_token": EOS}

SPLITS = ("train", "val", "test")
HELD_OUT = 0.01  # of a source that comes without splits: for val, and as much for test
# A small source has about so many sentences in each, but not more than a twentieth of all.
FEW, MOST = 10, 0.05
Pair = tuple[str, str]


@dataclass(frozen=True)
class Pairs:
    """Sentences and their translations, side by side.

    `empty` counts the pairs left out for an empty side, `copies` those left out of the training part because
    another source holds their sentence out.
    """

    source: list[str] = field(default_factory=list)
    target: list[str] = field(default_factory=list)
    empty: int = 0
    copies: int = 0

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Pair]:
        return zip(self.source, self.target, strict=True)

    def where(self, keep: Callable[[str, str], bool]) -> Pairs:
        """Those pairs for which `keep(source, target)` says so."""
        kept = [pair for pair in self if keep(*pair)]
        return replace(self, source=[source for source, _ in kept], target=[target for _, target in kept])


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

    What comes without splits is split by a hash of the source sentence: 1 % are `val`, 1 % `test`, of less
    than 1,000 sentences more (about 10, at most 5 %, at least one). Of several sources none trains on what
    another holds out. Raises InputError for a source that is none of these, files of unequal length (both
    counts are named), a damaged line, too few sentences to split, and where no pair is left.
    """
    if split not in SPLITS:
        raise InputError(f"there is no split {split!r}; expected one of {', '.join(SPLITS)}")
    if not data:
        raise InputError("no pairs given; name multi30k, tatoeba-en-fr, embedded or files")
    languages = source_language, target_language
    sources = [_read(name, languages) for name in data]
    pairs = [pair for source in sources for pair in source[split]]
    kept = [pair for pair in pairs if all(pair)]
    fresh = kept
    if split == "train" and len(sources) > 1:
        others = (pair for source in sources for other in ("val", "test") for pair in source[other])
        held = {normalised(source) for source, _ in others}
        fresh = [pair for pair in kept if normalised(pair[0]) not in held]
    if not fresh:
        raise InputError(f"{', '.join(data)}: no pairs in the split {split}; give more text")
    return Pairs([s for s, _ in fresh], [t for _, t in fresh], len(pairs) - len(kept), len(kept) - len(fresh))


def _read(name: str, languages: Pair) -> dict[str, list[Pair]]:
    """The pairs of each split of a source, without blanks around them; a side may be empty."""
    known, _, asked = name.partition(":")
    named = known in ("embedded", *catalog.names())
    if named and asked and asked != "-".join(languages):
        raise InputError(
            f"{name} is for {asked}, but the languages are {'-'.join(languages)}; set --source-language and "
            "--target-language"
        )
    if known == "multi30k":
        return _multi30k(languages)
    if named and known.startswith("tatoeba-"):
        return _split(name, _jsonl(catalog.locate(known)[0], languages))
    if known == "embedded":
        return _split(name, number_pairs(languages))
    return _split(name, _files(name, languages))


def _multi30k(languages: Pair) -> dict[str, list[Pair]]:
    files = {path.name: path for path in catalog.locate("multi30k")}
    stems = {"train": "train", "val": "val", "test": "test_2016_flickr"}
    try:
        paths = {split: [files[f"{stem}.{one}.gz"] for one in languages] for split, stem in stems.items()}
    except KeyError:
        raise InputError(f"multi30k has en, de and fr, not both of {' and '.join(languages)}") from None
    return {split: _stripped(aligned(*both)) for split, both in paths.items()}


def _split(name: str, pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    """Pairs by a hash of the source sentence, so that all translations of a sentence fall together.

    Pairs with an empty side are left to the training part, which counts them. Raises InputError for fewer
    than three sentences.
    """
    found = _stripped(pairs)
    points = [place(normalised(source)) if source and target else 1.0 for source, target in found]
    order = sorted({point for point in points if point < 1})
    if not order:
        return {"train": found, "val": [], "test": []}
    share = min(MOST, max(HELD_OUT, FEW / len(order)))
    tests = max(1, bisect_left(order, share))
    both = max(tests + 1, bisect_left(order, 2 * share))
    if both >= len(order):
        raise InputError(
            f"{name}: {len(order)} different source sentences are too few to train on some and to hold out "
            "others; give more pairs"
        )
    splits: dict[str, list[Pair]] = {"train": [], "val": [], "test": []}
    for point, pair in zip(points, found, strict=True):
        splits["test" if point < order[tests] else "val" if point < order[both] else "train"].append(pair)
    return splits


def _stripped(pairs: Iterable[Pair]) -> list[Pair]:
    return [(source.strip(), target.strip()) for source, target in pairs]


def _files(name: str, languages: Pair) -> Iterable[Pair]:
    paths = [Path(name)] if Path(name).is_file() else [Path(part) for part in name.split(",")]
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
                f"{path}, line {number}: byte 0x{error.object[error.start]:02x} is not UTF-8; convert the "
                "file (`iconv -f LATIN1 -t UTF-8` if it is Latin-1)"
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


def normalised(sentence: str) -> str:
    """What two sentences have in common that differ in case, punctuation or spaces alone."""
    return " ".join(re.findall(r"\w+", sentence.casefold()))
