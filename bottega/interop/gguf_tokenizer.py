"""A byte-level BPE tokenizer in GGUF's terms, where llama.cpp then makes the same ids of the same text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf

from bottega.data.fim import MIDDLE, PREFIX, SUFFIX
from bottega.errors import InputError
from bottega.text.bytelevel import CL100K, GPT2, QWEN, pattern_of
from bottega.text.formats import read
from bottega.text.tokenizer import Tokenizer

# llama.cpp knows patterns by the name of a model that has them. "dbrx" and "llama-bpe" split alike, but the
# latter also looks whole words up before it merges (`ignore_merges`).
NAMES = {(GPT2, False): "gpt-2", (CL100K, False): "dbrx", (CL100K, True): "llama-bpe", (QWEN, False): "qwen2"}
FIM_KEYS = {PREFIX: "fim_pre", SUFFIX: "fim_suf", MIDDLE: "fim_mid"}


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path, hf: Mapping[str, Any], vocab_size: int) -> None:
    """Add the tokenizer in a checkpoint folder, for a model with `vocab_size` rows.

    Nothing is put before a text. Raises InputError where there is none, where it has ids beyond the model's,
    and where it splits text as llama.cpp has no name for.
    """
    definition, config = read(folder)
    tokenizer = Tokenizer(definition, config)
    model = definition["model"]
    pattern = pattern_of(definition["pre_tokenizer"])
    name = NAMES.get((pattern or "", bool(model.get("ignore_merges"))))
    if name is None:
        raise InputError(
            f"{folder}: the tokenizer splits text in a way that llama.cpp has no name for; it has those of "
            "GPT-2, cl100k and Qwen"
        )
    if tokenizer.vocab_size > vocab_size:
        raise InputError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size:,} ids and the model {vocab_size:,}; give "
            "the two that belong together"
        )
    tokens, types = _tokens(definition, vocab_size)
    writer.add_tokenizer_model("gpt2")  # the kind: byte-level BPE
    writer.add_tokenizer_pre(name)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in model["merges"]])
    end = tokenizer.end_of_text
    writer.add_eos_token_id(end)
    writer.add_bos_token_id(_one(hf.get("bos_token_id"), end))
    writer.add_add_bos_token(False)
    if hf.get("fim_rate"):
        for token, key in FIM_KEYS.items():
            writer.add_uint32(f"tokenizer.ggml.{key}_token_id", tokenizer.special_tokens[token])
    template = config.get("chat_template")
    if isinstance(template, str):
        writer.add_chat_template(template)


def _tokens(definition: dict[str, Any], vocab_size: int) -> tuple[list[str], list[int]]:
    """The spelling and the kind of every id; those without a token are marked as unused."""
    tokens = [f"[PAD{id}]" for id in range(vocab_size)]
    types = [int(gguf.TokenType.UNUSED)] * vocab_size
    for token, id in definition["model"]["vocab"].items():
        tokens[id], types[id] = token, int(gguf.TokenType.NORMAL)
    for token in definition["added_tokens"]:
        kind = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        tokens[token["id"]], types[token["id"]] = token["content"], int(kind)
    return tokens, types


def _one(id: Any, default: int) -> int:
    return id if isinstance(id, int) else default
