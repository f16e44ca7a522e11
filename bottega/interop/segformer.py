"""SegFormer's folders as `transformers` writes them: configuration and tensors, in our terms and back.

As in `configs.py`, no class of ours is known here: a configuration is a dict of SegFormer's fields, and what
ours does not compute is refused with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bottega.errors import InputError
from bottega.interop.folder import read_stored
from bottega.interop.locate import read_json
from bottega.interop.tensors import Shape, compare_shapes
from bottega.interop.values import divides, flag, rate, require, size

MODEL_TYPE = "segformer"
STAGES, DEEPEST = 8, 100  # the largest published has 4 and 40
# Our fields with a number a stage, and theirs.
PER_STAGE = {
    "widths": "hidden_sizes",
    "depths": "depths",
    "heads": "num_attention_heads",
    "patches": "patch_sizes",
    "strides": "strides",
    "reductions": "sr_ratios",
    "mlp_ratios": "mlp_ratios",
}
# Our modules and theirs, in a stage, in a block, in the decoder.
STAGE = {"embed.proj": "patch_embeddings.{}.proj", "embed.norm": "patch_embeddings.{}.layer_norm"}
STAGE["norm"] = "layer_norm.{}"
BLOCK = {
    "norm1": ("layer_norm_1",),
    "reduce.conv": ("attention.self.sr",),
    "reduce.norm": ("attention.self.layer_norm",),
    "attn.q": ("attention.self.query",),
    "attn.kv": ("attention.self.key", "attention.self.value"),
    "attn.out": ("attention.output.dense",),
    "norm2": ("layer_norm_2",),
    "mlp.up": ("mlp.dense1",),
    "mlp.conv": ("mlp.dwconv.dwconv",),
    "mlp.down": ("mlp.dense2",),
}
DECODER = {"fuse": "linear_fuse", "norm": "batch_norm", "classifier": "classifier"}
COUNTER = "decode_head.batch_norm.num_batches_tracked"  # of theirs; ours counts none


def config_from_huggingface(hf: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """SegFormer's fields and the names of its classes from a config.json.

    Raises InputError, naming the field, for what is damaged or what we cannot honour.
    """
    if hf.get("model_type") != MODEL_TYPE:
        raise InputError(f"config.json: model_type is {hf.get('model_type')!r}; expected {MODEL_TYPE!r}")
    require(hf, "hidden_act", ("gelu",), "our SegFormer has a GELU")
    if not flag(hf, "reshape_last_stage", True):
        raise InputError("config.json: reshape_last_stage is false; our decoder reads every stage as a grid")
    stages = size(hf, "num_encoder_blocks", 4, STAGES)
    fields: dict[str, Any] = {ours: _per_stage(hf, theirs, stages) for ours, theirs in PER_STAGE.items()}
    for width, heads in zip(fields["widths"], fields["heads"], strict=True):
        divides(width, heads, "hidden_sizes", "num_attention_heads")
    names: Any = hf.get("id2label")
    numbers = sorted(map(str, range(len(names)))) if isinstance(names, dict) else []
    if len(numbers) < 2 or sorted(names) != numbers:
        raise InputError(f"config.json: id2label is {str(names)[:60]}; expected names of 2 classes or more")
    fields["channels"] = size(hf, "num_channels", 3)
    fields["n_class"] = len(names)
    fields["decoder_width"] = size(hf, "decoder_hidden_size", 256)
    fields["dropout"] = rate(hf, "classifier_dropout_prob", 0.1)
    side = hf.get("image_size")
    if side is not None:  # ours have it
        two = side if isinstance(side, list) and len(side) == 2 else [side, side]
        fields["height"], fields["width"] = (size({"image_size": one}, "image_size") for one in two)
    return fields, [str(names[str(number)]) for number in range(len(names))]


def config_to_huggingface(fields: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """The config.json in which `transformers` computes the same."""
    names = {str(number): name for number, name in enumerate(classes)}
    return {
        "model_type": MODEL_TYPE,
        "architectures": ["SegformerForSemanticSegmentation"],
        "num_channels": fields["channels"],
        "image_size": [fields["height"], fields["width"]],
        "num_encoder_blocks": len(fields["widths"]),
        **{theirs: list(fields[ours]) for ours, theirs in PER_STAGE.items()},
        "decoder_hidden_size": fields["decoder_width"],
        "classifier_dropout_prob": fields["dropout"],
        "drop_path_rate": 0.0,
        "hidden_act": "gelu",
        "id2label": names,
        "label2id": {name: int(number) for number, name in names.items()},
        "semantic_loss_ignore_index": 255,
    }


def read_config(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Fields and classes of the config.json of a folder."""
    try:
        return config_from_huggingface(read_json(folder / "config.json"))
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None


def read_state(folder: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a folder under our names, in fp32, checked against the state dict `expected`.

    Raises InputError naming what is missing, unknown or of another shape.
    """
    shapes, read = read_stored(folder, re.compile(re.escape(COUNTER)))
    wanted: dict[str, Shape] = {}
    for ours, tensor in expected.items():
        for name, part in _split(ours, tensor):
            wanted[name] = tuple(part.shape)
    try:
        compare_shapes(wanted, shapes, {name: name for name in shapes})
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    stored = read()
    return {
        ours: torch.cat([stored[name].float() for name, _ in _split(ours, tensor)])
        for ours, tensor in expected.items()
    }


def state_to_huggingface(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under the names of the published files; keys and values apart."""
    parts = {
        name: part.detach().clone().contiguous()
        for ours, tensor in state.items()
        for name, part in _split(ours, tensor)
    }
    return parts | {COUNTER: torch.zeros((), dtype=torch.long)}


def _split(ours: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """The names there of one tensor of ours, each with its part of it."""
    module, _, leaf = ours.rpartition(".")
    names = [f"{name}.{leaf}" for name in _theirs(module)]
    parts = tensor.chunk(len(names)) if len(names) > 1 else (tensor,)
    return list(zip(names, parts, strict=True))


def _theirs(module: str) -> list[str]:
    """The names there of one module of ours."""
    room, _, rest = module.partition(".")
    if room == "decoder":
        kind, _, stage = rest.partition(".")
        return [f"decode_head.{f'linear_c.{stage}.proj' if kind == 'proj' else DECODER[kind]}"]
    stage, _, rest = rest.partition(".")
    if rest in STAGE:
        return [f"segformer.encoder.{STAGE[rest].format(stage)}"]
    _, block, rest = rest.split(".", 2)
    return [f"segformer.encoder.block.{stage}.{block}.{name}" for name in BLOCK[rest]]


def _per_stage(hf: Mapping[str, Any], name: str, stages: int) -> tuple[int, ...]:
    values = hf.get(name)
    if not isinstance(values, list) or len(values) != stages:
        raise InputError(f"config.json: {name} is {str(values)[:60]}; expected {stages} numbers, one a stage")
    most = DEEPEST if name == "depths" else 2**20
    return tuple(size({name: value}, name, most=most) for value in values)
