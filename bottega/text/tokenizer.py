"""The tokenizer: text to token ids and back, by byte-level BPE.

References: Sennrich, Haddow and Birch 2016 ("Neural Machine Translation of Rare Words with Subword Units");
on bytes, Radford et al. 2019 ("Language Models are Unsupervised Multitask Learners", section 2.2).
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from bottega.errors import InputError, WorkError
from bottega.text.bytelevel import as_tiktoken, to_bytes

END_OF_TEXT = "<|endoftext|>"

# tiktoken's regex engine gives up (it panics) on a run of white space of about a million characters;
# tokenizers' does not. A run this long is rare enough that the slower library's turn costs nothing that
# counts.
_LONG = 100_000
_LONG_RUN_OF_SPACE = re.compile(r"\s{%d}" % _LONG)


class Tokenizer:
    """A byte-level BPE tokenizer. Any text can be encoded, and decoding gives it back exactly.

    Ids run from 0 to `vocab_size` - 1 (a few may be unused: published vocabularies have gaps). Text that
    spells a special token, like "<|endoftext|>", is encoded as the ordinary text that it is, unless asked
    otherwise. Lone surrogates, which are no characters, are encoded as U+FFFD; a pair of them as the
    character it stands for.
    """

    def __init__(self, definition: dict[str, Any], config: dict[str, Any] | None = None) -> None:
        """From the contents of tokenizer.json and, if there is one, tokenizer_config.json."""
        self._definition, self._config = definition, config or {}
        self._backend = _backend(definition)
        self._backend.encode_special_tokens = True  # the library's name for "as the text that they are"
        # tiktoken encodes the same merges 3 to 12 times as fast as tokenizers (bench/tokenizing.py).
        self._tiktoken = as_tiktoken(definition, self._backend)
        added = definition["added_tokens"]
        self._added: dict[str, int] = {token["content"]: token["id"] for token in added}
        self.special_tokens = {token["content"]: token["id"] for token in added if token["special"]}
        self._every_added = _any_of(self._added)
        self._ordinary_added = _any_of([token["content"] for token in added if not token["special"]])
        self._nfc = definition["normalizer"] is not None
        self._bytes = _token_bytes(definition)
        self.vocab_size = max(self._bytes) + 1

    @classmethod
    def train(cls, documents: Iterable[str], vocab_size: int, pattern: str = "gpt2") -> Tokenizer:
        """Learn merges from `documents`, read one by one; see `bottega.text.training.train`."""
        from bottega.text.training import train

        return cls(train(documents, vocab_size, pattern))

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a tokenizer from a folder or file: tokenizer.json, encoder.json with vocab.bpe, or *.tiktoken.

        Raises InputError where there is none or it is not byte-level BPE.
        """
        from bottega.text.formats import read

        definition, config = read(Path(path))
        try:
            return cls(definition, config)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, each whole or not at all; `transformers` opens them.

        Raises WorkError where they cannot be written.
        """
        folder = Path(folder)
        config = self._config | {"tokenizer_class": "PreTrainedTokenizerFast"}
        with contextlib.suppress(InputError):
            config = {"eos_token": self._name(self.end_of_text)} | config
        # tokenizer.json comes last: a folder is taken for a tokenizer when it is there.
        files = {"tokenizer_config.json": config, "tokenizer.json": self._definition}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                temporary = folder / f".{name}.{os.getpid()}"
                try:
                    temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
                    temporary.replace(folder / name)
                finally:
                    temporary.unlink(missing_ok=True)
        except OSError as error:
            raise WorkError(f"{folder}: the tokenizer cannot be written there: {error.strerror}") from None

    @property
    def end_of_text(self) -> int:
        """The id that separates documents: of <|endoftext|>, else of the end that tokenizer_config.json names.

        Raises InputError where there is neither.
        """
        name = self._config.get("eos_token")
        name = name.get("content") if isinstance(name, dict) else name
        for candidate in (END_OF_TEXT, name):
            if candidate in self._added:
                return self._added[candidate]
        raise InputError(
            f"this tokenizer has no end of text: neither {END_OF_TEXT} nor eos_token in its configuration"
        )

    def encode(self, text: str, *, encode_special_tokens: bool = False) -> list[int]:
        """The token ids of `text`; with `encode_special_tokens` also those of the special tokens that it spells."""
        text = _without_surrogates(text)
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

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, on all cores: both libraries work without Python's lock."""
        if self._tiktoken is None:
            batch = self._backend.encode_batch_fast(
                [*map(_without_surrogates, texts)], add_special_tokens=False
            )
            return [list(encoding.ids) for encoding in batch]
        threads = min(os.cpu_count() or 1, len(texts))
        if threads < 2:
            return [self.encode(text) for text in texts]
        ids: list[list[int]] = [[]] * len(texts)
        with ThreadPoolExecutor(threads) as pool:
            for i, share in enumerate(
                pool.map(lambda i: [*map(self.encode, texts[i::threads])], range(threads))
            ):
                ids[i::threads] = share
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
        """The bytes of one token, which need not be whole characters; InputError for an id that is none."""
        try:
            return self._bytes[int(id)]
        except KeyError:
            raise InputError(
                f"{id} is not a token id: the vocabulary has none beyond 0 to {self.vocab_size - 1}, "
                "and may lack some of those"
            ) from None

    def _merge(self, text: str) -> list[int]:
        """The ids of a text in which nothing is an added token."""
        assert self._tiktoken is not None
        if self._nfc and not text.isascii():
            text = self._backend.normalizer.normalize_str(text)
        if len(text) >= _LONG and _LONG_RUN_OF_SPACE.search(text):
            return list(self._backend.encode(text, add_special_tokens=False).ids)
        return self._tiktoken.encode_ordinary(text)

    @cached_property
    def _special_backend(self) -> Any:
        return _backend(self._definition)

    def _name(self, id: int) -> str:
        return next(token for token, other in self._added.items() if other == id)


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
        """What is left at the end: "" or U+FFFD for a character that was never completed. The stream starts anew."""
        return self._decoder.decode(b"", final=True)


def _backend(definition: dict[str, Any]) -> Any:
    import tokenizers

    try:
        return tokenizers.Tokenizer.from_str(json.dumps(definition))
    except Exception as error:  # the library raises nothing narrower
        raise InputError(f"is damaged, or newer than the installed tokenizers: {error}") from None


def _any_of(tokens: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern that finds the leftmost token and, of several there, the longest; None where there are none."""
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None


def _token_bytes(definition: dict[str, Any]) -> dict[int, bytes]:
    suffix = definition["model"].get("end_of_word_suffix")
    added = {token["id"]: token["content"].encode() for token in definition["added_tokens"]}
    vocab: dict[str, int] = definition["model"]["vocab"]
    if suffix:  # GPT-1's: whole words, each with a mark at its end where a space belongs
        return {
            id: re.sub(f"{re.escape(suffix)}$", " ", token).encode() for token, id in vocab.items()
        } | added
    return {id: to_bytes(token) or b"" for token, id in vocab.items()} | added


def _without_surrogates(text: str) -> str:
    """`text` with pairs of surrogates joined and lone ones replaced by U+FFFD, as tiktoken does."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
