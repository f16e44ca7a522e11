"""The tokenizer: text to token ids and back, by byte-level BPE.

References: Sennrich, Haddow and Birch 2016 ("Neural Machine Translation of Rare Words with Subword Units");
on bytes, Radford et al. 2019 ("Language Models are Unsupervised Multitask Learners", section 2.2).
"""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bottega.errors import InputError, WorkError
from bottega.text.bytelevel import as_tiktoken, to_bytes, without_surrogates

if TYPE_CHECKING:
    import tokenizers

END_OF_TEXT = "<|endoftext|>"

# Two of GPT-2's and cl100k's rules backtrack through a run of white space; tiktoken's regex engine gives up
# (it panics) on one of about a million characters, and tokenizers' does not. Such text is rare enough that
# the slower library's turn costs nothing that counts.
_BLANK = 100_000
_NO_CHARACTER = re.compile("([\udc80-\udcff])")  # how Python spells a byte that is part of no character


class Tokenizer:
    """A byte-level BPE tokenizer. Any text can be encoded, and decoding gives it back exactly.

    Ids run from 0 to `vocab_size` - 1 (some may be unused: published vocabularies have gaps).
    `special_tokens` are their names and ids. Text that spells one, like "<|endoftext|>", is encoded as the
    ordinary text that it is, unless asked otherwise. Lone surrogates, which are no characters, are encoded as
    U+FFFD, and a pair of them as the character that it stands for. Nothing is put before or after a text.
    """

    def __init__(self, definition: dict[str, Any], config: dict[str, Any] | None = None) -> None:
        """From the contents of tokenizer.json and, if there is one, tokenizer_config.json."""
        self._json = json.dumps(definition, ensure_ascii=False, indent=1)
        self._config = config or {}
        self._backend = _backend(self._json)
        self._backend.encode_special_tokens = True  # the library's name for "as the text that they are"
        # tiktoken encodes the same merges several times as fast as tokenizers (bench/tokenizing.py).
        self._tiktoken = as_tiktoken(definition, self._backend)
        self._nfc = definition["normalizer"] is not None
        added = self._backend.get_added_tokens_decoder()
        self._added = {token.content: id for id, token in added.items()}
        self.special_tokens = {token.content: id for id, token in added.items() if token.special}
        self._every_added, self._special = _any_of(self._added), _any_of(self.special_tokens)
        self._swallows = {token.content: (token.lstrip, token.rstrip) for token in added.values()}
        self._ordinary_added = _any_of(self._added.keys() - self.special_tokens.keys())
        self._bytes = _token_bytes(definition["model"]) | {id: t.content.encode() for id, t in added.items()}
        self.vocab_size = max(self._bytes) + 1

    @classmethod
    def train(
        cls,
        documents: Iterable[str],
        vocab_size: int,
        pattern: str = "gpt2",
        special_tokens: Mapping[str, str] | None = None,
        exact: bool = True,
    ) -> Tokenizer:
        """Learn exactly `vocab_size` tokens from `documents`, read one by one; see `bottega.text.training`.

        `pattern` names how text is split before the merges: "gpt2" or "cl100k". `special_tokens` maps the
        roles of tokenizer_config.json to tokens, as "pad_token" to "<pad>"; without it they are a language
        model's. Where not `exact`, data that gives fewer tokens makes a smaller vocabulary. Raises InputError
        for no text, and for a `vocab_size` that is too small or, where `exact`, more than the data gives.
        """
        from bottega.text.training import SPECIAL_TOKENS, train

        tokens = SPECIAL_TOKENS if special_tokens is None else tuple(special_tokens.values())
        return cls(train(documents, vocab_size, pattern, tokens, exact), dict(special_tokens or {}))

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a tokenizer from a folder or file: tokenizer.json, encoder.json with vocab.bpe, or *.tiktoken.

        Raises InputError where there is none, it is damaged, or it is not byte-level BPE.
        """
        from bottega.text.formats import read

        definition, config = read(Path(path))
        try:
            return cls(definition, config)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, each whole or not at all, for `transformers` too.

        Raises WorkError where they cannot be written.
        """
        folder = Path(folder)
        end = {"eos_token": END_OF_TEXT} if END_OF_TEXT in self._added else {}
        config = end | self._config | {"tokenizer_class": "PreTrainedTokenizerFast"}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(folder / "tokenizer_config.json", json.dumps(config, ensure_ascii=False, indent=1))
            # Last, because a folder is taken for a tokenizer when this file is there.
            _write(folder / "tokenizer.json", self._json)
        except OSError as error:
            raise WorkError(f"{folder}: the tokenizer cannot be written: {error.strerror}") from None

    @property
    def config(self) -> dict[str, Any]:
        """The contents of tokenizer_config.json, with what chat_template.jinja holds as "chat_template"."""
        return self._config

    def to_json(self) -> str:
        """The contents of tokenizer.json: all that decides how text is encoded."""
        return self._json

    @property
    def end_of_text(self) -> int:
        """The id that separates documents: of <|endoftext|>, else of what the configuration calls its end.

        Raises InputError where there is neither.
        """
        name = self._config.get("eos_token")
        name = name.get("content") if isinstance(name, dict) else name
        for candidate in (END_OF_TEXT, name):
            if isinstance(candidate, str) and candidate in self._added:
                return self._added[candidate]
        raise InputError(
            f"the tokenizer has no {END_OF_TEXT}, and its configuration names no other eos_token"
        )

    def encode(self, text: str, *, encode_special_tokens: bool = False) -> list[int]:
        """The token ids of `text`; with `encode_special_tokens` also of the special tokens that it spells."""
        text = without_surrogates(text)
        if self._tiktoken is None:
            backend = self._special_backend if encode_special_tokens else self._backend
            return list(backend.encode(text, add_special_tokens=False).ids)
        added = self._every_added if encode_special_tokens else self._ordinary_added
        if added is None:
            return self._merge(text)
        ids: list[int] = []
        for i, part in enumerate(added.split(text)):
            ids.extend([self._added[part]] if i % 2 else self._merge(part))
        return ids

    def encode_parts(self, parts: Iterable[tuple[str, bool]]) -> list[int]:
        """The ids of texts joined, of which only those marked True can spell special tokens.

        Between two special tokens the text is encoded as one, whoever wrote its parts.
        """
        runs: list[str] = [""]  # text and special tokens in turn
        for text, trusted in parts:
            first, *rest = self._special.split(text) if trusted and self._special else [text]
            runs[-1] += first
            runs += rest
        ids: list[int] = []
        for i, run in enumerate(runs):
            if i % 2:
                ids.append(self.special_tokens[run])
                continue
            # Some special tokens take the white space beside them, as their definition says.
            if i and self._swallows[runs[i - 1]][1]:
                run = run.lstrip()
            if i + 1 < len(runs) and self._swallows[runs[i + 1]][0]:
                run = run.rstrip()
            ids += self.encode(run)
        return ids

    def encode_bytes(self, data: bytes) -> list[int]:
        """The token ids of UTF-8 that may be cut inside a character: bytes that make none are tokens each.

        Raises InputError where the vocabulary lacks such a byte.
        """
        ids: list[int] = []
        for i, part in enumerate(_NO_CHARACTER.split(data.decode("utf-8", "surrogateescape"))):
            ids += [self._byte(ord(part) - 0xDC00)] if i % 2 else self.encode(part)
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, on all cores: both libraries work without Python's lock."""
        if self._tiktoken is None:
            whole = [without_surrogates(text) for text in texts]
            return [list(encoding.ids) for encoding in self._backend.encode_batch_fast(whole, False)]
        threads = min(os.cpu_count() or 1, len(texts))
        if threads < 2:
            return [self.encode(text) for text in texts]
        ids: list[list[int]] = [[]] * len(texts)
        left = iter(range(len(texts)))  # shared: a thread takes the next text when it has done one

        def work(_: int) -> None:
            for i in left:
                ids[i] = self.encode(texts[i])

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))  # the list raises what a thread raised
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, special tokens by their names; bytes that are no UTF-8 become U+FFFD.

        Raises InputError for an id that is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of `ids`, exactly. Raises InputError for an id that is not in the vocabulary."""
        return b"".join(map(self.token_bytes, ids))

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one token, which need not be whole characters; InputError for an id that has none."""
        try:
            return self._bytes[int(id)]
        except KeyError:
            raise InputError(f"no token has the id {id}; ids run from 0 to {self.vocab_size - 1}") from None

    def _byte(self, value: int) -> int:
        try:
            return self._byte_ids[value]
        except KeyError:
            raise InputError(f"no token is the single byte {value:#04x}; the bytes are no text") from None

    def _merge(self, text: str) -> list[int]:
        """The ids of a text in which nothing is an added token."""
        assert self._tiktoken is not None
        if self._nfc and not text.isascii():
            text = self._backend.normalizer.normalize_str(text)
        if any(text[i : i + _BLANK].isspace() for i in range(0, len(text) - _BLANK, _BLANK)):
            return list(self._backend.encode(text, add_special_tokens=False).ids)
        return self._tiktoken.encode_ordinary(text)

    @cached_property
    def _byte_ids(self) -> dict[int, int]:
        return {data[0]: id for id, data in self._bytes.items() if len(data) == 1}

    @cached_property
    def _special_backend(self) -> tokenizers.Tokenizer:
        return _backend(self._json)


class DecodeStream:
    """Decodes token by token and never splits a character that several tokens share.

    What the pushes and the flush return, joined, is what `Tokenizer.decode` gives for all the ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, id: int) -> str:
        """The characters that are complete with this token: "" while one is still open."""
        return self._decoder.decode(self._tokenizer.token_bytes(id))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character not completed, else "". The stream starts anew."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


def _backend(definition: str) -> tokenizers.Tokenizer:
    import tokenizers

    try:
        return tokenizers.Tokenizer.from_str(definition)
    except Exception as error:  # the library raises nothing narrower
        raise InputError(f"is damaged, or newer than the installed tokenizers library: {error}") from None


def _any_of(tokens: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern that finds the leftmost token and, of several there, the longest; None for no tokens."""
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None


def _token_bytes(model: dict[str, Any]) -> dict[int, bytes]:
    suffix = model.get("end_of_word_suffix")
    if suffix:  # GPT-1's: whole words, each with a mark at its end where a space belongs
        spell = re.compile(f"{re.escape(suffix)}$")
        return {id: spell.sub(" ", token).encode() for token, id in model["vocab"].items()}
    return {id: to_bytes(token) or token.encode() for token, id in model["vocab"].items()}


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
