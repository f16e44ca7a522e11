"""Who looks at whom when a model reads a text, for the attention page and for bertviz."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bottega.data.pair_loader import Vocabulary
from bottega.errors import InputError
from bottega.models.bert import BERT, BERTClassifier
from bottega.models.gpt import GPT
from bottega.models.load import load, load_tokenizer, resolve
from bottega.models.translator import Translator
from bottega.plots.attention_page import require_small
from bottega.text.wordpiece import WordPiece


@dataclass(frozen=True)
class Attention:
    """Weights by kind, each layer × head × query × key, and the tokens of the one or two sequences."""

    maps: dict[str, Tensor]
    source: list[str]
    target: list[str]


def read_attention(path: str | Path, text: str, target: str | None = None) -> Attention:
    """Let the model in `path` read `text` and return all its attention.

    A GPT reads end-of-text and the text; BERT the text between [CLS] and [SEP], with `target` a pair; a
    translator the text and `target`, its own translation unless one is given. A translator's target stands as
    it is read, from <bos> on: what looks is the token before the one that is being written.

    Raises InputError where the text is empty or too long, or the model has no attention.
    """
    if not text.strip() or (target is not None and not target.strip()):
        raise InputError("the text is empty; give some words for the model to look at")
    model: Any = load(path)
    if not hasattr(model, "attention"):
        raise InputError(f"{path}: a {type(model).__name__} has no attention; give a GPT, BERT or translator")
    model.eval()
    if isinstance(model, GPT):
        if target is not None:
            raise InputError("--target is for translators and BERT; a GPT reads one text")
        return _gpt(model, path, text)
    if isinstance(model, BERT | BERTClassifier):
        return _bert(model, WordPiece.load(resolve(path)), text, target)
    return _translation(model, path, text, target)


def _gpt(model: GPT, path: str | Path, text: str) -> Attention:
    tokenizer = load_tokenizer(path)
    ids = [tokenizer.end_of_text, *tokenizer.encode(text)]
    _require_small(model, len(ids))
    return Attention(model.attention(torch.tensor(ids)), token_texts(tokenizer, ids), [])


def _bert(model: BERT | BERTClassifier, tokenizer: WordPiece, text: str, target: str | None) -> Attention:
    if target is None:
        ids = tokenizer.encode(text)
        segments = [0] * len(ids)
    else:
        ids, segments = tokenizer.encode_pair(text, target)
    _require_small(model, len(ids))
    maps = model.attention(torch.tensor(ids), torch.tensor(segments))
    return Attention(maps, tokenizer.tokens(ids), [])


def _translation(model: Any, path: str | Path, text: str, target: str | None) -> Attention:
    tokenizer = load_tokenizer(path)
    words = Vocabulary.of(tokenizer)
    source = [*tokenizer.encode(text.strip()), words.eos]
    if target is None:
        (found,) = Translator(model, tokenizer).search([text])
        reads = [words.bos, *found[0].ids][: model.config.context_length]
    else:
        reads = [words.bos, *tokenizer.encode(target.strip())]
    maps = model.attention(torch.tensor(source), torch.tensor(reads))
    return Attention(maps, token_texts(tokenizer, source), token_texts(tokenizer, reads))


def _require_small(model: GPT | BERT | BERTClassifier, length: int) -> None:
    """Refuse what no page can show before its weights fill the memory."""
    require_small({"self": (model.config.n_layer, model.config.n_head, length, length)})


def token_texts(tokenizer: Any, ids: Iterable[int]) -> list[str]:
    """Each token as text; where it holds part of a character only, its bytes in hexadecimal."""
    texts = []
    for id in ids:
        raw: bytes = tokenizer.token_bytes(id)
        try:
            texts.append(raw.decode())
        except UnicodeDecodeError:
            texts.append(" ".join(f"0x{byte:02x}" for byte in raw))
    return texts
