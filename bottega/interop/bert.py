"""BERT's folders as `transformers` writes them: the configuration and the tensors, in our terms and back.

As in `configs.py`, no class of ours is known here: a configuration is a dict of BERT's fields, and what our
encoder does not compute is refused with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bottega.errors import InputError
from bottega.interop.folder import read_stored
from bottega.interop.locate import read_json
from bottega.interop.tensors import Shape, compare_shapes
from bottega.interop.values import divides, number, rate, require, size

MODEL_TYPE = "bert"
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}
# Which of the published classes has which parts: the encoder stands behind a prefix in all but the first.
PREFIX = "bert."
NAMES = {
    "tok_emb": ("embeddings.word_embeddings",),
    "pos_emb": ("embeddings.position_embeddings",),
    "seg_emb": ("embeddings.token_type_embeddings",),
    "norm": ("embeddings.LayerNorm",),
    "pooler": ("pooler.dense",),
    "attn.qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attn.out": ("attention.output.dense",),
    "norm1": ("attention.output.LayerNorm",),
    "mlp.up": ("intermediate.dense",),
    "mlp.down": ("output.dense",),
    "norm2": ("output.LayerNorm",),
}
HEADS = {
    "mlm.dense": "cls.predictions.transform.dense",
    "mlm.norm": "cls.predictions.transform.LayerNorm",
    "mlm.bias": "cls.predictions.bias",  # a parameter, not a module
    "next": "cls.seq_relationship",
    "classifier": "classifier",
}
# What follows from the configuration, and the copies of the tied output layer that old versions stored.
DERIVED = re.compile(r"(embeddings\.position_ids|cls\.predictions\.decoder\.(weight|bias))$")


def config_from_huggingface(hf: Mapping[str, Any]) -> dict[str, Any]:
    """BERT's fields from a config.json; InputError, naming the field, for what we cannot honour."""
    if hf.get("model_type") != MODEL_TYPE:
        raise InputError(f"config.json: model_type is {hf.get('model_type')!r}; expected {MODEL_TYPE!r}")
    require(hf, "position_embedding_type", ("absolute",), "our BERT's positions are absolute")
    for name in ("is_decoder", "add_cross_attention"):
        require(hf, name, (False,), "our BERT is an encoder")
    act = require(hf, "hidden_act", tuple(ACTIVATIONS), "expected a GELU or a ReLU", default="gelu")
    width, heads = size(hf, "hidden_size"), size(hf, "num_attention_heads")
    divides(width, heads, "hidden_size", "num_attention_heads")
    pad = hf.get("pad_token_id") or 0
    if not isinstance(pad, int) or pad < 0:
        raise InputError(f"config.json: pad_token_id is {pad!r}; expected the id of a token")
    rates = {rate(hf, name, 0.1) for name in ("hidden_dropout_prob", "attention_probs_dropout_prob")}
    return {
        "vocab_size": size(hf, "vocab_size"),
        "context_length": size(hf, "max_position_embeddings"),
        "n_layer": size(hf, "num_hidden_layers", most=10_000),
        "n_head": heads,
        "n_embd": width,
        "n_inner": size(hf, "intermediate_size"),
        "n_segment": size(hf, "type_vocab_size", 2),
        "norm_eps": number(hf, "layer_norm_eps", 1e-12),
        "mlp": ACTIVATIONS[act],
        "dropout": min(rates),  # ours is one rate; it matters in training only
        "pad": pad,
    }


def config_to_huggingface(fields: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    """The config.json in which `transformers` computes the same; `architecture` names its class."""
    acts = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu"}
    return {
        "model_type": MODEL_TYPE,
        "architectures": [architecture],
        "vocab_size": fields["vocab_size"],
        "max_position_embeddings": fields["context_length"],
        "num_hidden_layers": fields["n_layer"],
        "num_attention_heads": fields["n_head"],
        "hidden_size": fields["n_embd"],
        "intermediate_size": fields["n_inner"] or 4 * fields["n_embd"],
        "type_vocab_size": fields["n_segment"],
        "layer_norm_eps": fields["norm_eps"],
        "hidden_act": acts[fields["mlp"]],
        "hidden_dropout_prob": fields["dropout"],
        "attention_probs_dropout_prob": fields["dropout"],
        "pad_token_id": fields["pad"],
        "tie_word_embeddings": True,
    }


def read_config(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config.json of a BERT's folder, as it stands and as our fields."""
    hf = read_json(folder / "config.json")
    try:
        return hf, config_from_huggingface(hf)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None


def read_state(folder: Path, expected: Mapping[str, Tensor], optional: str = "") -> dict[str, Tensor]:
    """The tensors of a folder under our names, checked against the state dict `expected` (of any device).

    Tensors of heads that are not expected are left where they are; those whose names begin with `optional`
    may be missing. Raises InputError naming what is missing or of another shape.
    """
    shapes, read = read_stored(folder, DERIVED)
    names = {_canonical(name): name for name in shapes}
    wanted = dict(_split(expected))
    if optional:
        absent = {ours for ours in expected if ours.startswith(optional) and _theirs(ours)[0] not in names}
        wanted = dict(_split({ours: t for ours, t in expected.items() if ours not in absent}))
    else:
        absent = set()
    known = {name: stored for name, stored in names.items() if name in wanted or not _is_head(name)}
    sizes: dict[str, Shape] = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    try:
        compare_shapes(sizes, shapes, known)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    stored = read()
    return {
        ours: torch.cat([stored[names[name]] for name in _theirs(ours)]).contiguous()
        for ours in expected
        if ours not in absent
    }


def state_to_huggingface(state: Mapping[str, Tensor], bare: bool = False) -> dict[str, Tensor]:
    """Our tensors under the names of `transformers`; `bare`: of BertModel, whose names have no prefix."""
    theirs = dict(_split(state))
    return {name.removeprefix(PREFIX) if bare else name: tensor for name, tensor in theirs.items()}


def _split(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Each tensor under its name there; queries, keys and values apart."""
    for ours, tensor in state.items():
        names = _theirs(ours)
        for name, part in zip(names, tensor.detach().chunk(len(names)), strict=True):
            yield name, part.contiguous()


def _theirs(ours: str) -> tuple[str, ...]:
    """The names there of one tensor of ours."""
    if ours in HEADS:
        return (HEADS[ours],)
    module, _, leaf = ours.rpartition(".")
    if module in HEADS:
        return (f"{HEADS[module]}.{leaf}",)
    module = module.removeprefix("encoder.")
    prefix = PREFIX
    if module.startswith("blocks."):
        _, layer, module = module.split(".", 2)
        prefix += f"encoder.layer.{layer}."
    return tuple(f"{prefix}{name}.{leaf}" for name in NAMES[module])


def _canonical(name: str) -> str:
    """The name with today's words for a norm's tensors, and with the encoder's prefix."""
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    name = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)
    return PREFIX + name if name.startswith(("embeddings.", "encoder.", "pooler.")) else name


def _is_head(name: str) -> bool:
    return not name.startswith(PREFIX) or name.startswith(PREFIX + "pooler.")
