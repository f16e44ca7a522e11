"""ViT's folders as `transformers` writes them: configuration, tensors, preprocessor, in our terms and back.

As in `configs.py`, no class of ours is known here: a configuration is a dict of ViT's fields, and what our
encoder does not compute is refused with the reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bottega.data.disk import write_json
from bottega.errors import InputError
from bottega.interop.folder import read_stored, write_folder
from bottega.interop.locate import PREPROCESSOR, read_json
from bottega.interop.tensors import Shape, compare_shapes
from bottega.interop.values import divides, number, rate, require, size

MODEL_TYPE = "vit"
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}
BACK = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}
PREFIX = "vit."  # of the encoder, in all classes but the bare `ViTModel`
HEAD = "classifier"
NAMES = {
    "cls": ("embeddings.cls_token",),  # a parameter, as is the next
    "pos_emb": ("embeddings.position_embeddings",),
    "patches": ("embeddings.patch_embeddings.projection",),
    "norm": ("layernorm",),
    "norm1": ("layernorm_before",),
    "attn.qkv": ("attention.attention.query", "attention.attention.key", "attention.attention.value"),
    "attn.out": ("attention.output.dense",),
    "norm2": ("layernorm_after",),
    "mlp.up": ("intermediate.dense",),
    "mlp.down": ("output.dense",),
}
# Heads and tokens of other classes: of masked pre-training, of a bare encoder.
OTHERS = re.compile(r"^(vit\.)?(pooler\.|embeddings\.mask_token$)|^decoder\.")
BILINEAR = 2  # Pillow's number of the filter


def config_from_huggingface(hf: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> dict[str, Any]:
    """ViT's fields from a config.json and a preprocessor_config.json, which may be empty.

    Raises InputError, naming the field, for what we cannot honour. A bare encoder has classes too: those
    that `id2label` names, whether or not anything tells them apart.
    """
    if hf.get("model_type") != MODEL_TYPE:
        raise InputError(f"config.json: model_type is {hf.get('model_type')!r}; expected {MODEL_TYPE!r}")
    require(hf, "qkv_bias", (True,), "our ViT's queries, keys and values have biases")
    act = require(hf, "hidden_act", tuple(ACTIVATIONS), "expected a GELU or a ReLU", default="gelu")
    width, heads = size(hf, "hidden_size", 768), size(hf, "num_attention_heads", 12)
    divides(width, heads, "hidden_size", "num_attention_heads")
    height_and_width, patch = _pair(hf, "image_size", 224), _pair(hf, "patch_size", 16)
    if patch[0] != patch[1]:
        raise InputError(f"config.json: patch_size is {list(patch)}; our ViT's patches are squares")
    for side in height_and_width:
        divides(side, patch[0], "image_size", "patch_size")
    channels = size(hf, "num_channels", 3, most=64)
    rates = {rate(hf, name, 0.0) for name in ("hidden_dropout_prob", "attention_probs_dropout_prob")}
    return {
        "channels": channels,
        "height": height_and_width[0],
        "width": height_and_width[1],
        "classes": _classes(hf),
        "patch": patch[0],
        "n_layer": size(hf, "num_hidden_layers", 12, most=10_000),
        "n_head": heads,
        "n_embd": width,
        "n_inner": size(hf, "intermediate_size", 3072),
        "norm_eps": number(hf, "layer_norm_eps", 1e-12),
        "mlp": ACTIVATIONS[act],
        "dropout": min(rates),  # ours is one rate; it matters in training only
        **_normalisation(preprocessor, channels),
    }


def config_to_huggingface(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json in which `transformers` computes the same."""
    names = dict(enumerate(fields["classes"]))
    height, width = fields["height"], fields["width"]
    return {
        "model_type": MODEL_TYPE,
        "architectures": ["ViTForImageClassification"],
        "num_channels": fields["channels"],
        "image_size": height if height == width else [height, width],
        "patch_size": fields["patch"],
        "num_hidden_layers": fields["n_layer"],
        "num_attention_heads": fields["n_head"],
        "hidden_size": fields["n_embd"],
        "intermediate_size": fields["n_inner"] or 4 * fields["n_embd"],
        "layer_norm_eps": fields["norm_eps"],
        "hidden_act": BACK[fields["mlp"]],
        "hidden_dropout_prob": fields["dropout"],
        "attention_probs_dropout_prob": fields["dropout"],
        "qkv_bias": True,
        "id2label": {str(id): name for id, name in names.items()},
        "label2id": {name: id for id, name in names.items()},
    }


def preprocessor_to_huggingface(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The preprocessor_config.json with which `ViTImageProcessor` makes of a picture what our ViT reads."""
    channels = fields["channels"]
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": fields["height"], "width": fields["width"]},
        "resample": BILINEAR,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(fields["mean"]) * (channels // len(fields["mean"])),
        "image_std": list(fields["std"]) * (channels // len(fields["std"])),
    }


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration and the normalisation in a ViT's folder, as our fields."""
    hf = read_json(folder / "config.json")
    preprocessor = read_json(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else {}
    try:
        return config_from_huggingface(hf, preprocessor)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None


def read_state(folder: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a folder under our names, checked against the state dict `expected` (of any device).

    A head that is not expected is left where it is. Raises InputError naming what is missing or of another
    shape.
    """
    shapes, read = read_stored(folder, OTHERS)
    names = {_canonical(name): name for name in shapes}
    wanted = dict(_split(expected))
    known = {name: at for name, at in names.items() if name in wanted or not name.startswith(HEAD)}
    sizes: dict[str, Shape] = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    try:
        compare_shapes(sizes, shapes, known)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    stored = read()
    return {
        ours: torch.cat([stored[names[name]] for name in _theirs(ours)]).float().contiguous()
        for ours in expected
    }


def write(folder: str | Path, fields: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write the folder of a `ViTForImageClassification`: configuration, weights, preprocessor, model card."""
    count = sum(tensor.numel() for tensor in state.values())
    readme = (
        "---\nlibrary_name: transformers\npipeline_tag: image-classification\n---\n\n"
        f"# A Vision Transformer\n\n{count:,} parameters. It opens in `transformers` "
        "(`ViTForImageClassification.from_pretrained`) and here (`bottega.load`).\n"
    )
    write_folder(folder, config_to_huggingface(fields), dict(_split(state)), readme=readme)
    write_json(Path(folder) / PREPROCESSOR, preprocessor_to_huggingface(fields))


def _pair(hf: Mapping[str, Any], name: str, default: int) -> tuple[int, int]:
    """Height and width, which may be one number."""
    value = hf.get(name)
    if not isinstance(value, list):
        return (size(hf, name, default, most=2**16),) * 2
    if len(value) != 2:
        raise InputError(f"config.json: {name} is {value!r}; expected one number, or height and width")
    height, width = (size({name: side}, name, most=2**16) for side in value)
    return height, width


def _classes(hf: Mapping[str, Any]) -> tuple[str, ...]:
    names = hf.get("id2label")
    if names is None:
        names = {str(id): f"LABEL_{id}" for id in range(2)}  # what `transformers` leaves out of the file
    if not isinstance(names, dict) or sorted(names) != sorted(map(str, range(len(names)))):
        raise InputError("config.json: id2label names no classes 0, 1, 2 …, as classifiers have")
    return tuple(str(names[str(id)]) for id in range(len(names)))


def _normalisation(preprocessor: Mapping[str, Any], channels: int) -> dict[str, tuple[float, ...]]:
    """`mean` and `std`; where the file does not say, the half that ViTs are trained with."""
    if preprocessor.get("do_rescale") is False or not math.isclose(
        number(preprocessor, "rescale_factor", 1 / 255), 1 / 255, rel_tol=1e-3
    ):
        raise InputError(f"{PREPROCESSOR}: pixels are not brought to [0, 1], as our ViT's are")
    if preprocessor.get("do_normalize") is False:
        return {"mean": (0.0,), "std": (1.0,)}
    found = {}
    for field in ("mean", "std"):
        value = preprocessor.get(f"image_{field}")
        numbers = [0.5] if value is None else value if isinstance(value, list) else [value]
        sound = all(isinstance(one, int | float) and math.isfinite(one) for one in numbers)
        if not sound or len(numbers) not in (1, channels) or (field == "std" and min(numbers) <= 0):
            raise InputError(f"{PREPROCESSOR}: image_{field} is {value!r}; expected a number a channel")
        found[field] = tuple(numbers)
    return found


def _split(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Each tensor under its name there; queries, keys and values apart."""
    for ours, tensor in state.items():
        names = _theirs(ours)
        for name, part in zip(names, tensor.detach().chunk(len(names)), strict=True):
            yield name, part.contiguous()


def _theirs(ours: str) -> tuple[str, ...]:
    """The names there of one tensor of ours."""
    name = ours.removeprefix("encoder.")
    if name in NAMES:
        return tuple(PREFIX + theirs for theirs in NAMES[name])
    module, _, leaf = name.rpartition(".")
    if module == "head":
        return (f"{HEAD}.{leaf}",)
    prefix = PREFIX
    if module.startswith("blocks."):
        _, layer, module = module.split(".", 2)
        prefix += f"encoder.layer.{layer}."
    return tuple(f"{prefix}{theirs}.{leaf}" for theirs in NAMES[module])


def _canonical(name: str) -> str:
    """The name with the encoder's prefix."""
    return name if name.startswith((PREFIX, HEAD)) else PREFIX + name
