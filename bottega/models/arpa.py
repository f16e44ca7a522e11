"""N-gram models in ARPA's text format, as SRILM, KenLM and speech recognisers read and write it.

The format has words, and logarithms to base ten. An end-of-text of ours is `</s>` where it is predicted and
`<s>` where it begins a context. SRILM's manual page ngram-format(5) describes the format.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
from jaxtyping import Int32, Int64

from bottega.errors import InputError
from bottega.models.kneser_ney import Level, NgramConfig, find_keys
from bottega.text.bytelevel import to_characters

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = -99.0  # the format's logarithm of zero
LINES_AT_ONCE = 100_000


def write_arpa(
    path: str | Path, config: NgramConfig, levels: Sequence[Level], token_name: Callable[[int], str]
) -> None:
    """Write a model; the file appears whole or not at all.

    Args:
        path: the file to write.
        config: the model's.
        levels: the model's, one an order.
        token_name: a different word for each id, without white space, none of `<s>`, `</s>`, `<unk>`.

    Raises:
        InputError: the names do not do, or there is no folder for the file.
    """
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"{path} cannot be a file: it is a folder, or its folder is not there; name another")
    names = _names(config, token_name)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write("\\data\\\n")
            for n, level in enumerate(levels, 1):
                # An end-of-text is two unigrams there, and <unk> is one more.
                file.write(f"ngram {n}={len(level.keys) + (2 if n == 1 else 0)}\n")
            rows = np.arange(config.vocab_size, dtype=np.int32)[:, None]
            for n, level in enumerate(levels, 1):
                if n > 1:
                    last = (level.keys & ((1 << config.token_bits) - 1)).astype(np.int32)
                    rows = np.column_stack([rows[level.keys >> config.token_bits], last])
                file.write(f"\n\\{n}-grams:\n")
                _write_level(file, config, level, rows, names, highest=n == len(levels))
            file.write("\n\\end\\\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_arpa(
    path: str | Path, token_id: Callable[[str], int], vocab_size: int, end_of_text: int
) -> tuple[NgramConfig, list[Level]]:
    """Read a model whose words are tokens.

    Args:
        path: the file.
        token_id: the id of a word; raises KeyError for a word that it does not know.
        vocab_size: ids run from 0 to this, exclusive; those that the file does not list share `<unk>`'s
            probability (each has all of it).
        end_of_text: the id that `<s>` and `</s>` become.

    Raises:
        InputError: the file is not in the format; the message names the line.
    """
    reader = _Reader(Path(path))
    sizes = reader.header()
    config = NgramConfig(len(sizes), vocab_size, end_of_text)
    words = {START: end_of_text, END: end_of_text}
    levels = [_read_unigrams(reader, config, sizes[0], token_id, words)]
    for n, size in enumerate(sizes[1:], 2):
        levels.append(_read_level(reader, config, levels, n, size, words))
    if reader.line != "\\end\\":
        raise reader.error(f"expected \\end\\, found {reader.found}")
    return config, levels


def _names(config: NgramConfig, token_name: Callable[[int], str]) -> list[str]:
    names = [END if token == config.end_of_text else token_name(token) for token in range(config.vocab_size)]
    seen: dict[str, int] = {START: config.end_of_text, UNKNOWN: -1}
    for token, name in enumerate(names):
        if not name or len(name.split()) != 1 or name != name.strip():
            raise InputError(f"token {token} is named {name!r}; a word of an ARPA file has no white space")
        if name in seen:
            raise InputError(
                f"token {token} is named {name!r}, which is taken; every word needs its own name"
            )
        seen[name] = token
    return names


def _write_level(
    file: TextIO,
    config: NgramConfig,
    level: Level,
    rows: Int32[np.ndarray, "ngrams n"],
    names: list[str],
    highest: bool,
) -> None:
    log_probs, backoffs = level.log_prob / math.log(10), level.log_backoff / math.log(10)
    if rows.shape[1] == 1:
        start = "" if highest else f"\t{backoffs[config.end_of_text]:.7g}"
        file.write(f"{NEVER:g}\t{UNKNOWN}\n{NEVER:g}\t{START}{start}\n")
        backoffs[config.end_of_text] = 0.0  # </s> is no context
    for begin in range(0, len(rows), LINES_AT_ONCE):
        part = slice(begin, begin + LINES_AT_ONCE)
        lines = []
        for prob, ids, backoff in zip(
            log_probs[part].tolist(), rows[part].tolist(), backoffs[part].tolist(), strict=True
        ):
            words = [names[token] for token in ids]
            if len(ids) > 1 and ids[0] == config.end_of_text:
                words[0] = START
            end = "\n" if highest else f"\t{backoff:.7g}\n"
            lines.append(f"{prob:.7g}\t{' '.join(words)}{end}")
        file.write("".join(lines))


class _Reader:
    """The lines of an ARPA file, with the number of the current one for the messages."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self.line = ""
        self._lines = self._read()

    def _read(self) -> Iterator[str]:
        try:
            with self.path.open(encoding="utf-8") as file:
                yield from file
        except FileNotFoundError:
            raise InputError(f"{self.path} does not exist; expected an ARPA file") from None
        except IsADirectoryError:
            raise InputError(f"{self.path} is a folder; expected an ARPA file") from None
        except UnicodeDecodeError:
            raise self.error("not UTF-8; expected an ARPA file as plain text") from None

    def advance(self) -> str:
        """The next line without the white space around it."""
        line = next(self._lines, None)
        if line is None:
            raise self.error("the file ends here; expected the rest of an ARPA file")
        self.number += 1
        self.line = line.strip()
        return self.line

    @property
    def found(self) -> str:
        """The beginning of the current line, fit for a message."""
        return repr(self.line[:40]).replace("\\\\", "\\")

    def error(self, problem: str, number: int | None = None) -> InputError:
        """What to raise: the problem, with the place."""
        return InputError(f"{self.path}, line {number or self.number}: {problem}")

    def header(self) -> list[int]:
        """The number of n-grams of each order; leaves the first section's title as the current line."""
        while self.advance() != "\\data\\":
            if self.line.startswith("\\"):
                raise self.error(f"expected \\data\\, found {self.found}")
        sizes: list[int] = []
        while not (self.advance().startswith("\\")):
            if not self.line:
                continue
            match = re.fullmatch(r"ngram\s+(\d+)\s*=\s*(\d+)", self.line)
            if not match or int(match[1]) != len(sizes) + 1:
                raise self.error(f"expected 'ngram {len(sizes) + 1}=NUMBER', found {self.found}")
            sizes.append(int(match[2]))
        if not sizes:
            raise self.error("no 'ngram 1=NUMBER' under \\data\\")
        if 2 * sum(sizes) > self.path.stat().st_size:
            raise self.error(f"{sum(sizes)} n-grams are announced, more than a file of this size can hold")
        return sizes

    def section(self, n: int, size: int, highest: bool) -> Iterator[tuple[float, list[str], float]]:
        """The n-grams of one order as (log p, words, log backoff), in nats; ends on the next title."""
        if self.line != f"\\{n}-grams:":
            raise self.error(f"expected \\{n}-grams:, found {self.found}")
        for _ in range(size):
            fields = self.advance().split()
            if len(fields) != n + 1 and (highest or len(fields) != n + 2):
                backoff = "" if highest else " and perhaps a backoff"
                raise self.error(
                    f"expected a log-probability, {n} word{'s' * (n > 1)}{backoff}, found {self.found}"
                    f" ({size} {n}-grams were announced)"
                )
            words = fields[1 : n + 1]
            yield (
                self._log(fields[0], upper=0.0),
                words,
                self._log(fields[-1]) if len(fields) > n + 1 else 0.0,
            )
        while not self.advance():
            pass
        if not self.line.startswith("\\"):
            raise self.error(f"more {n}-grams than the {size} that were announced")

    def _log(self, text: str, upper: float = math.inf) -> float:
        try:
            value = float(text)
        except ValueError:
            raise self.error(f"{text[:40]!r} is not a number") from None
        if not math.isfinite(value) or value > upper:
            raise self.error(f"{text} is no logarithm of a {'probability' if upper == 0.0 else 'backoff'}")
        return value * math.log(10)


def _read_unigrams(
    reader: _Reader, config: NgramConfig, size: int, token_id: Callable[[str], int], words: dict[str, int]
) -> Level:
    """The first level; adds each word with its id to `words`."""
    log_prob = np.full(config.vocab_size, np.nan, dtype=np.float32)
    log_backoff = np.zeros(config.vocab_size, dtype=np.float32)
    unknown = math.nan
    for prob, (word,), backoff in reader.section(1, size, config.order == 1):
        if word == UNKNOWN:
            unknown = prob
        elif word == START:
            log_backoff[config.end_of_text] = backoff
        else:
            token = config.end_of_text if word == END else _id(reader, config, token_id, word)
            if not np.isnan(log_prob[token]):
                raise reader.error(f"the word {word!r} is token {token}, which an earlier line has")
            words[word] = token
            log_prob[token] = prob
            if word != END:
                log_backoff[token] = backoff
    absent = np.isnan(log_prob)
    if absent.any() and math.isnan(unknown):
        missing = f"{absent.sum()} of the {config.vocab_size} tokens"
        raise reader.error(f"{missing} are not among the 1-grams, nor is {UNKNOWN} to stand for them")
    log_prob[absent] = unknown
    return Level(np.arange(config.vocab_size, dtype=np.int64), log_prob, log_backoff)


def _id(reader: _Reader, config: NgramConfig, token_id: Callable[[str], int], word: str) -> int:
    try:
        token = token_id(word)
    except KeyError:
        raise reader.error(f"the word {word!r} is not in the vocabulary") from None
    if not 0 <= token < config.vocab_size or token == config.end_of_text:
        raise reader.error(f"the word {word!r} cannot be token {token} of {config.vocab_size}")
    return token


def _read_level(
    reader: _Reader, config: NgramConfig, levels: list[Level], n: int, size: int, words: dict[str, int]
) -> Level:
    log_prob = np.empty(size, dtype=np.float32)
    log_backoff = np.empty(size, dtype=np.float32)
    rows = np.empty((size, n), dtype=np.int32)
    first_line = reader.number + 1
    for i, (prob, ngram, backoff) in enumerate(reader.section(n, size, n == config.order)):
        if START in ngram[1:] or END in ngram[:-1]:
            raise reader.error(f"{START} can only begin an n-gram, and {END} only end it")
        try:
            rows[i] = [words[word] for word in ngram]
        except KeyError as error:
            raise reader.error(f"the word {error} is not a token among the 1-grams") from None
        log_prob[i], log_backoff[i] = prob, backoff
    context = _ranks(rows[:, :-1], levels, config)
    if (context < 0).any():
        raise reader.error(
            "the n-gram's first words are not listed as a context", first_line + _first(context < 0)
        )
    keys = context << config.token_bits | rows[:, -1]
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    repeated = np.zeros(size, dtype=bool)
    repeated[order[1:][keys[1:] == keys[:-1]]] = True
    if repeated.any():
        raise reader.error("an earlier line has the same n-gram", first_line + _first(repeated))
    return Level(keys, log_prob[order], log_backoff[order])


def _ranks(
    rows: Int32[np.ndarray, "ngrams n"], levels: list[Level], config: NgramConfig
) -> Int64[np.ndarray, " ngrams"]:
    """Each row's rank among the n-grams of its length, -1 where it is not one of them."""
    ranks = rows[:, 0].astype(np.int64)
    for level, token in zip(levels[1:], rows.T[1:], strict=False):
        ranks = find_keys(level.keys, ranks << config.token_bits | token).astype(np.int64)  # -1 stays absent
    return ranks


def _first(wrong: np.ndarray) -> int:
    return int(np.flatnonzero(wrong)[0])


def byte_names(tokens: Sequence[bytes]) -> list[str]:
    """A word for each token of a byte-level vocabulary: its bytes in GPT-2's printable alphabet ("Ġthe").

    A name that is empty, taken, or one of the format's own gets `#` and the token's id behind it.
    """
    names = {"": -1, START: -1, END: -1, UNKNOWN: -1}
    for token, content in enumerate(tokens):
        name = to_characters(content)
        while name in names:
            name += f"#{token}"
        names[name] = token
    return list(names)[4:]
