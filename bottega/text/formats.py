"""Reads tokenizer files, Hugging Face's, GPT-2's and tiktoken's, into one form: that of tokenizer.json."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from pathlib import Path
from typing import Any

from bottega.errors import InputError
from bottega.text.bytelevel import CHARACTER_OF, CL100K, GPT2, definition, merges_of, to_bytes, to_characters

# A .tiktoken file says neither how text is split nor which special tokens there are. So the published
# vocabularies are known by their content: the SHA-256 of their lines in order of rank, which is that of the
# published files, and stays so under another name and after a transfer has changed the line ends.
_R50K = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
_P50K = "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"
_CL100K = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
_CL100K_SPECIAL = {
    "<|endoftext|>": 100257,
    "<|fim_prefix|>": 100258,
    "<|fim_middle|>": 100259,
    "<|fim_suffix|>": 100260,
    "<|endofprompt|>": 100276,
}
_PUBLISHED = {
    _R50K: (GPT2, {"<|endoftext|>": 50256}),
    _P50K: (GPT2, {"<|endoftext|>": 50256}),
    _CL100K: (CL100K, _CL100K_SPECIAL),
}
_BYTES_OF_TEXT = [*range(0xC0), *range(0xC2, 0xF5)]  # the others occur in no UTF-8
_EXPECTED = "expected tokenizer.json, encoder.json with vocab.bpe, or a .tiktoken file"


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tokenizer in a file or folder as (tokenizer.json, tokenizer_config.json); the second may be {}.

    Raises InputError where there is none, it is damaged, or it is of a kind that is not read here.
    """
    file = _find(path) if path.is_dir() else path
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file or folder; {_EXPECTED}") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    if content.startswith(b"#version"):  # vocab.bpe: its other half has the ids
        return _gpt2(_beside(file, "encoder.json", "vocab.json"), file), _config(file.parent)
    if content[:1] != b"{":
        return _tiktoken(file, content), {}
    data = _json(file)
    if all(isinstance(id, int) for id in data.values()):
        return _gpt2(file, _beside(file, "vocab.bpe", "merges.txt")), _config(file.parent)
    return _checked(data, file), _config(file.parent)


def _find(folder: Path) -> Path:
    names = "tokenizer.json", "encoder.json", "vocab.bpe", "merges.txt", "latest/tokenizer.json"  # a run's
    for candidate in [folder / name for name in names] + sorted(folder.glob("*.tiktoken"))[:2]:
        if candidate.is_file():
            several = candidate.suffix == ".tiktoken" and len(list(folder.glob("*.tiktoken"))) > 1
            if several:
                raise InputError(f"{folder}: holds several .tiktoken files; name one of them")
            return candidate
    if (folder / "tokenizer.model").is_file():
        raise InputError(
            f"{folder}: has only tokenizer.model (SentencePiece), which is not byte-level BPE; {_EXPECTED}"
        )
    raise InputError(f"{folder}: holds no tokenizer; {_EXPECTED}")


def _beside(file: Path, *names: str) -> Path:
    for name in names:
        if (file.parent / name).is_file():
            return file.parent / name
    raise InputError(f"{file}: is half a tokenizer; {' or '.join(names)} is expected beside it")


def _json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise InputError(f"{file}: is damaged: not valid JSON; get the file again") from None
    if not isinstance(data, dict):
        raise InputError(f"{file}: is not a tokenizer; {_EXPECTED}")
    return data


def _config(folder: Path) -> dict[str, Any]:
    file, template = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    config = _json(file) if file.is_file() else {}
    if template.is_file():  # where newer checkpoints keep what older ones have in the configuration
        config["chat_template"] = template.read_text(encoding="utf-8", errors="replace")
    return config


def _checked(data: dict[str, Any], file: Path) -> dict[str, Any]:
    """A tokenizer.json whose model is a BPE that knows the bytes of every token; else InputError."""
    model = data.get("model")
    if not isinstance(model, dict) or "vocab" not in model:
        raise InputError(f"{file}: is not a tokenizer.json: it has no model with a vocabulary; {_EXPECTED}")
    kind = model.get("type", "BPE")
    if kind != "BPE" or not isinstance(model["vocab"], dict):
        raise InputError(
            f"{file}: is a {kind} tokenizer; expected byte-level BPE, as GPT-2, Llama 3 and Qwen have"
        )
    # A tokenizer that cuts texts short or fills them up unasked would do so in silence.
    data = data | {"truncation": None, "padding": None, "added_tokens": data.get("added_tokens") or []}
    for step in ("normalizer", "pre_tokenizer"):
        data.setdefault(step, None)
    try:
        _check_tokens(data, file)
    except (TypeError, KeyError, AttributeError):
        raise InputError(f"{file}: is damaged: its tokens cannot be read; get the file again") from None
    return data


def _check_tokens(data: dict[str, Any], file: Path) -> None:
    model = data["model"]
    added = {token["content"] for token in data["added_tokens"]}
    ids: dict[str, int] = {token: id for token, id in model["vocab"].items() if token not in added}
    if len(set(ids.values())) < len(ids):
        raise InputError(f"{file}: is damaged: two tokens have the same id; get the file again")
    if model.get("continuing_subword_prefix"):
        raise InputError(f"{file}: marks the insides of words; expected byte-level BPE, which marks nothing")
    if model.get("end_of_word_suffix"):
        if (data.get("decoder") or {}).get("type") != "BPEDecoder":
            raise InputError(f"{file}: marks the ends of words, as CLIP's does; expected byte-level BPE")
        return  # GPT-1's: a BPE of characters, with a token for what it cannot say
    steps = json.dumps([data["normalizer"], data["pre_tokenizer"]])
    if '"ByteLevel"' not in steps or any(to_bytes(token) is None for token in ids):
        raise InputError(
            f"{file}: is a BPE of characters, as SentencePiece makes it; expected byte-level BPE"
        )
    missing = sum(CHARACTER_OF[byte] not in ids for byte in _BYTES_OF_TEXT)
    if missing:
        raise InputError(
            f"{file}: lacks {missing} of the single bytes, so it would lose text; train a new one"
        )


def _gpt2(encoder: Path, bpe: Path) -> dict[str, Any]:
    vocab = _json(encoder)
    try:
        lines = bpe.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        raise InputError(f"{bpe}: is damaged: not valid UTF-8; get the file again") from None
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines[1:] if line)]
    unions = {left + right for left, right in merges}
    wrong = next((token for token in unions if token not in vocab), None)
    if wrong is not None:
        raise InputError(f"{bpe}: merges {wrong!r}, which {encoder} lacks; get the two files together")
    special = {token: id for token, id in vocab.items() if len(token) > 1 and token not in unions}
    return _checked(definition(vocab, merges, GPT2, special), encoder)


def _tiktoken(file: Path, content: bytes) -> dict[str, Any]:
    try:
        pairs = [line.split() for line in content.splitlines() if line.strip()]
        ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
    except (ValueError, binascii.Error):
        raise InputError(f"{file}: is not a tokenizer; {_EXPECTED}") from None
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    digest = hashlib.sha256(b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ordered))
    if digest.hexdigest() not in _PUBLISHED:
        raise InputError(
            f"{file}: {len(ranks)} tokens, but neither r50k, p50k nor cl100k as published. A .tiktoken "
            "file does not say how it splits text: get one of these again, or use a tokenizer.json"
        )
    pattern, special = _PUBLISHED[digest.hexdigest()]
    vocab = {to_characters(token): rank for token, rank in ordered}
    merges = [(to_characters(left), to_characters(right)) for left, right in merges_of(ranks)]
    return definition(vocab, merges, pattern, special)
