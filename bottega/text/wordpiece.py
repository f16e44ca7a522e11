"""WordPiece (Schuster & Nakajima 2012; Wu et al. 2016, section 4.1): the tokens of BERT and its kin.

A word is cut greedily into the longest pieces that the vocabulary has; `##` marks those inside a word.
Unlike our byte-level BPE it forgets spaces and, where it lower-cases, capitals: encoders read texts and write
none, and a word then has the same tokens in a title and in a sentence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bottega.errors import InputError, WorkError
from bottega.text.bytelevel import without_surrogates

if TYPE_CHECKING:
    import tokenizers

PAD, UNKNOWN, CLS, SEP, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_SMALLEST = 64
_PIECES = "##"


class WordPiece:
    """A WordPiece tokenizer; texts are encoded between [CLS] and [SEP], as BERT reads them.

    Ids run from 0 to `vocab_size` - 1. Text that spells a special token, like "[MASK]", is that token only
    where it is asked for.
    """

    def __init__(self, definition: dict[str, Any], config: dict[str, Any] | None = None) -> None:
        """From the contents of tokenizer.json and, if there is one, tokenizer_config.json."""
        # One that cuts texts short or fills them up unasked would do so in silence.
        self._json = json.dumps(definition | {"truncation": None, "padding": None}, ensure_ascii=False)
        self.config = config or {}
        self._backend = _backend(self._json)
        self._backend.encode_special_tokens = True
        self.special_tokens = _special(self._backend)
        self.pad, self.unknown, self.cls, self.sep, self.mask = (self.special_tokens[one] for one in SPECIAL)
        self.vocab_size = 1 + max(self._backend.get_vocab(with_added_tokens=True).values())

    @classmethod
    def train(cls, documents: Iterable[str], vocab_size: int, lower_case: bool = True) -> WordPiece:
        """Learn at most `vocab_size` pieces from `documents`, read one by one.

        Raises InputError where there is no text, or a vocabulary so small that it could not hold letters.
        """
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

        if vocab_size < _SMALLEST:
            raise InputError(f"a vocabulary of {vocab_size} is too small; expected at least {_SMALLEST}")
        backend = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
        backend.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocab_size,
            min_frequency=2,  # a pair seen once tells nothing about other text
            limit_alphabet=min(1000, vocab_size // 4),  # rare letters would crowd out the words
            special_tokens=list(SPECIAL),
            show_progress=False,
        )
        backend.train_from_iterator(map(without_surrogates, documents), trainer)
        if backend.get_vocab_size() <= len(SPECIAL):
            raise InputError("there is no text to train on: every document is empty; name sources with text")
        return cls(_framed(backend), {"do_lower_case": lower_case})

    @classmethod
    def load(cls, path: str | Path) -> WordPiece:
        """Read a folder's tokenizer.json, or its vocab.txt as BERT published it.

        Raises InputError where there is neither, it is damaged, or it is no WordPiece.
        """
        folder = Path(path)
        config = (
            _read(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
        )
        try:
            if (folder / "tokenizer.json").is_file():
                return cls(_checked(_read(folder / "tokenizer.json")), config)
            if (folder / "vocab.txt").is_file():
                return cls(_from_vocab(folder / "vocab.txt", config.get("do_lower_case", True)), config)
        except InputError as error:
            raise InputError(f"{folder}: {error}") from None
        raise InputError(f"{folder} holds no WordPiece tokenizer; expected tokenizer.json or vocab.txt")

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, for `transformers` too.

        Raises WorkError where they cannot be written.
        """
        folder = Path(folder)
        names = dict(
            zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True)
        )
        config = {"tokenizer_class": "BertTokenizerFast", **names, **self.config}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in (
                ("tokenizer_config.json", json.dumps(config, indent=1)),
                ("tokenizer.json", self._json),
            ):
                draft = folder / f".{name}.{os.getpid()}"
                draft.write_text(text, encoding="utf-8")
                draft.replace(folder / name)
        except OSError as error:
            raise WorkError(f"{folder}: the tokenizer cannot be written: {error.strerror}") from None

    def without_frame(self) -> WordPiece:
        """The same that puts nothing before or after a text, for models that read words alone."""
        return WordPiece(json.loads(self._json) | {"post_processor": None}, self.config)

    def to_json(self) -> str:
        """The contents of tokenizer.json: all that decides how text is encoded."""
        return self._json

    @property
    def end_of_text(self) -> int:
        """The id that ends a text: that of [SEP]."""
        return self.sep

    def encode(self, text: str, *, frame: bool = True, encode_special_tokens: bool = False) -> list[int]:
        """The token ids of `text`, between [CLS] and [SEP] unless `frame` is False.

        With `encode_special_tokens` also of the special tokens that it spells.
        """
        if not encode_special_tokens:
            return list(self._backend.encode(without_surrogates(text), add_special_tokens=frame).ids)
        return list(_backend(self._json).encode(without_surrogates(text), add_special_tokens=frame).ids)

    def encode_batch(self, texts: Sequence[str], *, frame: bool = True) -> list[list[int]]:
        """The token ids of each text, on all cores."""
        whole = [without_surrogates(text) for text in texts]
        return [list(one.ids) for one in self._backend.encode_batch_fast(whole, add_special_tokens=frame)]

    def encode_pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        """[CLS] first [SEP] second [SEP], and for each token 0 or 1: which of the two it belongs to."""
        a, b = self.encode_batch([first, second], frame=False)
        return [self.cls, *a, self.sep, *b, self.sep], [0] * (len(a) + 2) + [1] * (len(b) + 1)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, special tokens by their names; spaces are where WordPiece guesses them.

        Raises InputError for an id that is not in the vocabulary.
        """
        given = list(map(int, ids))
        for id in given:
            self._token(id)
        return str(self._backend.decode(given, skip_special_tokens=False))

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """Each token as the vocabulary spells it, with `##` inside words."""
        return [self._token(int(id)) for id in ids]

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one token; InputError for an id that is not in the vocabulary."""
        return self._token(id).removeprefix(_PIECES).encode()

    def _token(self, id: int) -> str:
        token: str | None = self._backend.id_to_token(id) if 0 <= id < self.vocab_size else None
        if token is None:
            raise InputError(f"no token has the id {id}; ids run from 0 to {self.vocab_size - 1}")
        return token


def is_wordpiece(folder: Path) -> bool:
    """Whether a folder's tokenizer is of this kind; nothing is raised where it has none."""
    if not (folder / "tokenizer.json").is_file():
        return (folder / "vocab.txt").is_file()
    model = _read(folder / "tokenizer.json").get("model")
    return isinstance(model, dict) and model.get("type") == "WordPiece"


def _framed(backend: tokenizers.Tokenizer) -> dict[str, Any]:
    """The definition, with [CLS] before and [SEP] behind a text and between two."""
    from tokenizers.processors import TemplateProcessing

    ids = [(token, backend.token_to_id(token)) for token in (CLS, SEP)]
    backend.post_processor = TemplateProcessing(
        single=f"{CLS} $A {SEP}", pair=f"{CLS} $A {SEP} $B:1 {SEP}:1", special_tokens=ids
    )
    definition: dict[str, Any] = json.loads(backend.to_str())
    return definition


def _from_vocab(path: Path, lower_case: Any) -> dict[str, Any]:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path.name} cannot be read as UTF-8; get the file again") from None
    vocabulary = {token: id for id, token in enumerate(lines)}
    missing = [token for token in SPECIAL if token not in vocabulary]
    if missing:
        raise InputError(f"{path.name} has no {missing[0]}; expected one token a line, as BERT's")
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    backend.normalizer = normalizers.BertNormalizer(lowercase=bool(lower_case))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(list(SPECIAL))
    return _framed(backend)


def _checked(definition: dict[str, Any]) -> dict[str, Any]:
    model = definition.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if kind != "WordPiece":
        raise InputError(f"tokenizer.json is a {kind or 'damaged'} one; expected WordPiece, as BERT has")
    return definition


def _special(backend: tokenizers.Tokenizer) -> dict[str, int]:
    ids = {token: id for token in SPECIAL if (id := backend.token_to_id(token)) is not None}
    missing = [token for token in SPECIAL if token not in ids]
    if missing:
        raise InputError(f"the tokenizer has no {missing[0]}; BERT needs {', '.join(SPECIAL)}")
    return ids


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise InputError(f"{path} is damaged: not valid JSON; get the file again") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged: expected a JSON object; get the file again")
    return value


def _backend(definition: str) -> tokenizers.Tokenizer:
    import tokenizers

    try:
        return tokenizers.Tokenizer.from_str(definition)
    except Exception as error:  # the library raises nothing narrower
        raise InputError(f"is damaged, or newer than the installed tokenizers library: {error}") from None
