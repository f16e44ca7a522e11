"""CTranslate2's folder: a translator of ours for that engine (C++, int8), by the package's own converter.

There, texts are lists of tokens, as tokenizer.json (which comes along) cuts them; <eos> is added to a source.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bottega.errors import InputError, WorkError
from bottega.interop.folder import read_stored
from bottega.interop.locate import line, read_json
from bottega.nn.positions import binary, sinusoidal
from bottega.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from ctranslate2.specs import transformer_spec

MODEL_TYPE = "bottega-transformer"
POSITIONS = ("sinusoidal", "learnt", "binary", "rotary")
NEVER = -1e9  # added to the logits of <pad> and <bos>, which no translation has
# What the configuration must hold; that the values make sense was checked where it was written.
FIELDS = (
    "vocab_size",
    "context_length",
    "n_encoder_layer",
    "n_decoder_layer",
    "n_head",
    "n_embd",
    "norm_position",
    "positions",
    "shared",
    "pad",
    "bos",
    "eos",
)


def export_ctranslate2(folder: Path, out: Path) -> str:
    """Write the translator in a checkpoint folder as the folder `out`; return the name of its specification.

    Weights are stored in float32; CTranslate2 makes int8 of them when it loads (`compute_type="int8"`).
    Raises InputError where the folder holds a model that CTranslate2 cannot express, or a damaged one, or
    where `out` is not empty; WorkError where it cannot be written.
    """
    config = read_json(folder / "config.json")
    if reason := _mismatch(config):
        raise InputError(f"{folder}: CTranslate2 cannot express this model: {reason}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not empty; give a new folder")
    converter = _converter(config, _tensors(folder), Tokenizer.load(folder))
    draft = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        converter.convert(str(draft), force=True)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, draft / name)
        draft.replace(out)
    except OSError as error:
        raise WorkError(f"{out} could not be written ({line(error)}); nothing was left there") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return "TransformerSpec"


def _mismatch(config: Mapping[str, Any]) -> str:
    """Why CTranslate2 cannot compute what the configuration describes; "" where it can."""
    if config.get("model_type") != MODEL_TYPE:
        return (
            f"it is a {config.get('model_type')!r}; of our translators only {MODEL_TYPE} has its like there"
        )
    if missing := [name for name in FIELDS if name not in config]:
        return f"config.json does not say {', '.join(missing)}"
    if config["positions"] not in POSITIONS:
        return f"its positions are {config['positions']!r}; those that can be said are {', '.join(POSITIONS)}"
    return ""


def _tensors(folder: Path) -> dict[str, Tensor]:
    _, read = read_stored(folder)
    return {name: tensor.float() for name, tensor in read().items()}


def _converter(config: Mapping[str, Any], tensors: Mapping[str, Tensor], tokenizer: Tokenizer) -> Any:
    try:
        from ctranslate2.converters.converter import Converter
    except ModuleNotFoundError:
        raise InputError("CTranslate2's folder needs its package; try: pip install ctranslate2") from None

    class FromBottega(Converter):  # type: ignore[misc]
        def _load(self) -> transformer_spec.TransformerSpec:
            try:
                return _specification(config, tensors, _vocabulary(tokenizer, config["vocab_size"]))
            except KeyError as error:
                raise InputError(f"model.safetensors has no {error}; copy it again or train again") from None

    return FromBottega()


def _specification(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], vocabulary: list[str]
) -> transformer_spec.TransformerSpec:
    from ctranslate2.specs import transformer_spec

    pre = config["norm_position"] == "pre"
    turned = {"rotary_dim": 0, "rotary_interleave": False} if config["positions"] == "rotary" else {}
    spec = transformer_spec.TransformerSpec(
        transformer_spec.TransformerEncoderSpec(
            config["n_encoder_layer"], config["n_head"], pre_norm=pre, **turned
        ),
        transformer_spec.TransformerDecoderSpec(
            config["n_decoder_layer"], config["n_head"], pre_norm=pre, **turned
        ),
    )
    for side, layers in (("encoder", spec.encoder.layer), ("decoder", spec.decoder.layer)):
        for i, layer in enumerate(layers):
            _set_layer(layer, tensors, f"{side}.{i}", side == "decoder")
    if pre:
        _set_norm(spec.encoder.layer_norm, tensors, "encoder_norm")
        _set_norm(spec.decoder.layer_norm, tensors, "decoder_norm")
    shared = config["shared"]
    spec.encoder.embeddings[0].weight = tensors["embedding.weight"]
    spec.decoder.embeddings.weight = tensors["embedding.weight" if shared else "target_embedding.weight"]
    spec.decoder.projection.weight = tensors["embedding.weight" if shared else "head.weight"]
    bias = torch.zeros(config["vocab_size"])
    bias[[config["pad"], config["bos"]]] = NEVER
    spec.decoder.projection.bias = bias
    for part, name in ((spec.encoder, "source_positions"), (spec.decoder, "target_positions")):
        if config["positions"] == "learnt":
            part.position_encodings.encodings = tensors[f"{name}.weight"]
        elif config["positions"] != "rotary":
            table = {"sinusoidal": sinusoidal, "binary": binary}[config["positions"]]
            encodings = table(torch.arange(config["context_length"]), config["n_embd"])
            part.position_encodings.encodings = encodings
    spec.register_source_vocabulary(vocabulary)
    spec.register_target_vocabulary(vocabulary)
    spec.config.bos_token = spec.config.decoder_start_token = vocabulary[config["bos"]]
    spec.config.eos_token = vocabulary[config["eos"]]
    spec.config.unk_token = vocabulary[config["pad"]]  # bytes leave nothing unknown, but one must be named
    spec.config.add_source_eos = True
    return spec


def _set_layer(layer: Any, tensors: Mapping[str, Tensor], name: str, decoder: bool) -> None:
    """The sub-layers of a block in our order: attention, in the decoder cross-attention, feed-forward."""
    norms = [f"{name}.norm{i}" for i in (1, 2, 3)]
    _set_norm(layer.self_attention.layer_norm, tensors, norms[0])
    _set_linear(layer.self_attention.linear[0], tensors, f"{name}.attn.qkv")
    _set_linear(layer.self_attention.linear[1], tensors, f"{name}.attn.out")
    if decoder:
        _set_norm(layer.attention.layer_norm, tensors, norms[1])
        for linear, part in zip(layer.attention.linear, ("q", "kv", "out"), strict=True):
            _set_linear(linear, tensors, f"{name}.cross.{part}")
    _set_norm(layer.ffn.layer_norm, tensors, norms[2 if decoder else 1])
    _set_linear(layer.ffn.linear_0, tensors, f"{name}.mlp.up")
    _set_linear(layer.ffn.linear_1, tensors, f"{name}.mlp.down")


def _set_linear(spec: Any, tensors: Mapping[str, Tensor], name: str) -> None:
    spec.weight, spec.bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]


def _set_norm(spec: Any, tensors: Mapping[str, Tensor], name: str) -> None:
    spec.gamma, spec.beta = tensors[f"{name}.weight"], tensors[f"{name}.bias"]


def _vocabulary(tokenizer: Tokenizer, size: int) -> list[str]:
    """The token of each id, as tokenizer.json spells it; InputError where the model has fewer."""
    definition = json.loads(tokenizer.to_json())
    tokens = {id: token for token, id in definition["model"]["vocab"].items()}
    tokens |= {token["id"]: token["content"] for token in definition["added_tokens"]}
    if max(tokens) >= size:
        raise InputError(f"the tokenizer has {max(tokens) + 1:,} tokens and the model {size:,}: no pair")
    return [tokens.get(id, f"<unused-{id}>") for id in range(size)]
