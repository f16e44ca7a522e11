"""The tensors of `gpt2`, `openai-gpt`, `llama` and `qwen3` checkpoints, under our names and back.

Two things differ beyond the names: GPT-1 and GPT-2 store matrices as input × output (`Conv1D`), and Llama and
Qwen keep apart what we stack by rows (q, k, v; gate, up).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bottega.errors import InputError
from bottega.interop.configs import config_from_huggingface

Shape = tuple[int, ...]
Names = dict[str, tuple[str, ...]]

GPT2: Names = {
    "tok_emb": ("wte",),
    "pos_emb": ("wpe",),
    "norm1": ("ln_1",),
    "attn.qkv": ("attn.c_attn",),
    "attn.out": ("attn.c_proj",),
    "norm2": ("ln_2",),
    "mlp.up": ("mlp.c_fc",),
    "mlp.down": ("mlp.c_proj",),
    "norm": ("ln_f",),
}
LLAMA: Names = {
    "tok_emb": ("embed_tokens",),
    "norm1": ("input_layernorm",),
    "attn.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn.q_norm": ("self_attn.q_norm",),
    "attn.k_norm": ("self_attn.k_norm",),
    "attn.out": ("self_attn.o_proj",),
    "norm2": ("post_attention_layernorm",),
    "mlp.up": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.down": ("mlp.down_proj",),
    "norm": ("norm",),
}
NAMES: dict[str, Names] = {
    "gpt2": GPT2,
    "openai-gpt": GPT2 | {"tok_emb": ("tokens_embed",), "pos_emb": ("positions_embed",)},
    "llama": LLAMA,
    "qwen3": LLAMA,
}
PREFIX = {"gpt2": "transformer.", "openai-gpt": "transformer.", "llama": "model.", "qwen3": "model."}
BLOCKS = {"gpt2": "h", "openai-gpt": "h", "llama": "layers", "qwen3": "layers"}
CONV1D = ("gpt2", "openai-gpt")  # store the matrices of their blocks transposed
HEAD = "lm_head.weight"
# Masks and frequencies that old versions stored: they follow from the configuration.
BUFFERS = re.compile(r"(h\.\d+\.attn\.(masked_)?bias|rotary_emb\.inv_freq)$")


@dataclass(frozen=True)
class Entry:
    """One tensor of ours and the tensors there that it stacks by rows."""

    ours: str
    theirs: tuple[str, ...]
    rows: Shape  # of each part
    columns: int | None  # None: a vector
    transposed: bool = False  # stored as columns × rows there

    def shapes(self) -> list[Shape]:
        """The shapes as they are stored there."""
        if self.columns is None:
            return [(rows,) for rows in self.rows]
        return [(self.columns, rows) if self.transposed else (rows, self.columns) for rows in self.rows]


def expected_shapes(hf: Mapping[str, Any]) -> dict[str, Shape]:
    """The canonical name and the shape of every tensor that a checkpoint with this config.json holds."""
    return {
        name: shape
        for entry in _entries(hf)
        for name, shape in zip(entry.theirs, entry.shapes(), strict=True)
    }


def canonical_names(hf: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, str]:
    """Canonical name → name in the file, without stored masks and without the copy of a tied head."""
    kind, names = hf["model_type"], {}
    tied = HEAD not in expected_shapes(hf)
    for name in stored:
        if kind in PREFIX:
            if BUFFERS.search(name) or (tied and name == HEAD):
                continue
            bare = name.removeprefix(PREFIX[kind])
            names[bare if name == HEAD else PREFIX[kind] + bare] = name
        else:
            names[name] = name
    return names


def check_shapes(hf: Mapping[str, Any], stored: Mapping[str, Shape]) -> None:
    """Raise InputError naming the first tensors that are missing, unknown or of another shape."""
    compare_shapes(expected_shapes(hf), stored, canonical_names(hf, stored))


def compare_shapes(
    expected: Mapping[str, Shape], stored: Mapping[str, Shape], names: Mapping[str, str]
) -> None:
    """The same for shapes by canonical name; `names` says under which name each is stored."""
    missing = [name for name in expected if name not in names]
    unknown = [names[name] for name in names if name not in expected]
    wrong = [
        f"{names[name]} is {_by(stored[names[name]])} and should be {_by(shape)}"
        for name, shape in expected.items()
        if name in names and tuple(stored[names[name]]) != shape
    ]
    for what, found in (("missing", missing), ("unknown", unknown), ("of the wrong shape", wrong)):
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            count = "1 tensor is" if len(found) == 1 else f"{len(found)} tensors are"
            raise InputError(
                f"{count} {what}: {', '.join(found[:3])}{more}; "
                "the weights are damaged or do not belong to this config.json"
            )


def state_from_huggingface(hf: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as stored there → our names and shapes; dtypes stay.

    Raises InputError where a tensor is missing, unknown or of the wrong shape, or where a head that should be
    the embedding is not.
    """
    check_shapes(hf, {name: tuple(tensor.shape) for name, tensor in state.items()})
    names = canonical_names(hf, state)
    ours = {}
    for entry in _entries(hf):
        parts = [state[names[name]] for name in entry.theirs]
        if entry.transposed:
            parts = [part.t() for part in parts]
        ours[entry.ours] = (parts[0] if len(parts) == 1 else torch.cat(parts)).contiguous()
    tied = "head.weight" not in ours
    if tied and HEAD in state and not torch.equal(state[HEAD], ours["tok_emb.weight"]):
        raise InputError(f"config.json ties the head to the embedding, but {HEAD} holds other numbers")
    return ours


def state_to_huggingface(hf: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors → names and shapes as `transformers` stores them for this config.json; dtypes stay."""
    theirs = {}
    for entry in _entries(hf):
        parts = torch.split(state[entry.ours].detach(), list(entry.rows))
        for name, part in zip(entry.theirs, parts, strict=True):
            theirs[name] = (part.t() if entry.transposed else part).contiguous()
    return theirs


def _by(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "a scalar"


def _entries(hf: Mapping[str, Any]) -> Iterator[Entry]:
    """Every tensor of the checkpoint, in the order of the computation."""
    kind = hf["model_type"]
    for ours, rows, columns in _own_shapes(config_from_huggingface(hf)):
        if kind not in NAMES:
            yield Entry(ours, (ours,), (sum(rows),), columns)
            continue
        theirs = _theirs(kind, ours)
        matrix = columns is not None and ours.startswith("blocks.")
        stacked = rows if len(theirs) > 1 else (sum(rows),)
        yield Entry(ours, theirs, stacked, columns, matrix and kind in CONV1D)


def _theirs(kind: str, ours: str) -> tuple[str, ...]:
    """The names there of one tensor of ours."""
    if ours == "head.weight":
        return (HEAD,)
    module, _, leaf = ours.rpartition(".")
    prefix = PREFIX[kind]
    if module.startswith("blocks."):
        _, layer, module = module.split(".", 2)
        prefix += f"{BLOCKS[kind]}.{layer}."
    return tuple(f"{prefix}{name}.{leaf}" for name in NAMES[kind][module])


def _own_shapes(fields: Mapping[str, Any]) -> Iterator[tuple[str, Shape, int | None]]:
    """Our tensors: name, rows of each stacked part, and columns (None: a vector)."""
    width, inner, dim = fields["n_embd"], fields["n_inner"], fields["head_dim"]
    q, kv = fields["n_head"] * dim, fields["n_kv_head"] * dim

    def norm(name: str, size: int = width) -> Iterator[tuple[str, Shape, int | None]]:
        yield f"{name}.weight", (size,), None
        if fields["norm"] == "layernorm":
            yield f"{name}.bias", (size,), None

    def linear(name: str, rows: Shape, columns: int, bias: bool) -> Iterator[tuple[str, Shape, int | None]]:
        yield f"{name}.weight", rows, columns
        if bias:
            yield f"{name}.bias", rows, None

    yield "tok_emb.weight", (fields["vocab_size"],), width
    if fields["positions"] == "learned":
        yield "pos_emb.weight", (fields["context_length"],), width
    for block in (f"blocks.{layer}" for layer in range(fields["n_layer"])):
        yield from norm(f"{block}.norm1")
        yield from linear(f"{block}.attn.qkv", (q, kv, kv), width, fields["attention_bias"])
        if fields["qk_norm"]:
            yield from norm(f"{block}.attn.q_norm", dim)
            yield from norm(f"{block}.attn.k_norm", dim)
        yield from linear(f"{block}.attn.out", (width,), q, fields["attention_bias"])
        yield from norm(f"{block}.norm2")
        up = (inner, inner) if fields["mlp"] == "swiglu" else (inner,)
        yield from linear(f"{block}.mlp.up", up, width, fields["mlp_bias"])
        yield from linear(f"{block}.mlp.down", (width,), inner, fields["mlp_bias"])
    if fields["norm_position"] == "pre":
        yield from norm("norm")
    if not fields["tied"]:
        yield "head.weight", (fields["vocab_size"],), width
