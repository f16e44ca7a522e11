"""GGUF, the one-file format of llama.cpp and Ollama: a GPT with its tokenizer, written by the `gguf` package.

Three architectures there compute what a GPT of ours can be: `gpt2`, `llama` and `qwen3`. What they compute
otherwise, or what a file cannot say, is refused with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import gguf
import numpy as np
import numpy.typing as npt
import torch
from gguf.quants import quantize
from torch import Tensor

from bottega.errors import InputError, WorkError
from bottega.interop.configs import config_from_huggingface, config_to_huggingface
from bottega.interop.folder import read_folder
from bottega.interop.gguf_tokenizer import add_tokenizer
from bottega.interop.tensors import state_from_huggingface, state_to_huggingface
from bottega.nn.positions import rotary_frequencies

Weights = Literal["f32", "bf16", "q8_0"]
Array = npt.NDArray[Any]
TYPES = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "bf16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
BLOCK = 32  # weights that share a scale in q8_0
ARCHITECTURES = {
    "gpt2": gguf.MODEL_ARCH.GPT2,
    "llama": gguf.MODEL_ARCH.LLAMA,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
}


def export_gguf(folder: Path, out: Path, weights: Weights = "f32") -> str:
    """Write the GPT in a checkpoint folder as the file `out`; return its architecture there.

    Matrices are stored as `weights` says; vectors and learned positions stay in f32, as llama.cpp expects
    them. Raises InputError with the reason where no architecture there can say the model, where its tokenizer
    is missing or splits text as llama.cpp cannot, or where `out` exists; WorkError where it cannot be
    written.
    """
    if weights not in get_args(Weights):
        raise InputError(f"weights are {weights!r}; expected one of {', '.join(get_args(Weights))}")
    if out.exists():
        raise InputError(f"{out} exists; give a new file")
    hf, stored = read_folder(folder)
    fields = config_from_huggingface(hf)
    target = config_to_huggingface(fields)
    kind = target["model_type"]
    if reason := _mismatch(kind, fields, weights):
        raise InputError(f"GGUF cannot say this model: {reason}")
    draft = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        writer = gguf.GGUFWriter(draft, gguf.MODEL_ARCH_NAMES[ARCHITECTURES[kind]])
        _add_shape(writer, kind, fields)
        writer.add_file_type(TYPES[weights][1])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        add_tokenizer(writer, folder, hf, fields["vocab_size"])
        for name, tensor in _tensors(
            kind, fields, state_to_huggingface(target, state_from_huggingface(hf, stored))
        ):
            type_ = TYPES[weights][0] if _is_matrix(name, tensor) else gguf.GGMLQuantizationType.F32
            writer.add_tensor(name, quantize(tensor, type_), raw_dtype=type_)
        out.parent.mkdir(parents=True, exist_ok=True)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        draft.rename(out)
    except OSError as error:
        raise WorkError(f"{out} could not be written ({error.strerror}); nothing was left there") from None
    finally:
        draft.unlink(missing_ok=True)
    return str(kind)


def _mismatch(kind: str, fields: Mapping[str, Any], weights: Weights) -> str | None:
    """Why llama.cpp would not compute this model from a file, or None where it would."""
    scaling = (fields["rope_scaling"] or {}).get("rope_type")
    widths = {name: fields[name] for name in ("n_embd", "n_inner")}
    widths["n_head × head_dim"] = fields["n_head"] * fields["head_dim"]
    uneven = [name for name, width in widths.items() if width % BLOCK]
    if kind not in ARCHITECTURES:
        return f"llama.cpp has no architecture {kind} (norms after each layer, as in GPT-1)"
    if kind == "gpt2" and fields["mlp"] != "gelu_tanh":
        return "its gpt2 computes GELU by the tanh formula, and here it is exact"
    if kind == "qwen3" and fields["attention_bias"]:
        return "its qwen3 has no biases in attention, and here there are"
    if kind == "qwen3" and scaling == "llama3":
        return "its qwen3 does not scale rotary frequencies one by one, as llama3's scaling does"
    if weights == "q8_0" and uneven:
        return f"q8_0 stores blocks of {BLOCK} weights, and {uneven[0]} is {widths[uneven[0]]}"
    return None


def _add_shape(writer: gguf.GGUFWriter, kind: str, fields: Mapping[str, Any]) -> None:
    writer.add_vocab_size(fields["vocab_size"])
    writer.add_context_length(fields["context_length"])
    writer.add_embedding_length(fields["n_embd"])
    writer.add_block_count(fields["n_layer"])
    writer.add_feed_forward_length(fields["n_inner"])
    writer.add_head_count(fields["n_head"])
    if kind == "gpt2":
        writer.add_layer_norm_eps(fields["norm_eps"])
        return
    writer.add_head_count_kv(fields["n_kv_head"])
    writer.add_key_length(fields["head_dim"])
    writer.add_value_length(fields["head_dim"])
    writer.add_layer_norm_rms_eps(fields["norm_eps"])
    writer.add_rope_dimension_count(fields["head_dim"])
    writer.add_rope_freq_base(fields["rope_theta"])
    scaling = fields["rope_scaling"]
    if scaling is not None and scaling["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])


def _tensors(
    kind: str, fields: Mapping[str, Any], state: Mapping[str, Tensor]
) -> Iterator[tuple[str, Array]]:
    """The tensors under their names there, in f32: matrices as output × input."""
    names = gguf.get_tensor_name_map(ARCHITECTURES[kind], fields["n_layer"])
    for name, tensor in state.items():
        there = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert there is not None, name
        values = tensor.float()
        if kind == "gpt2" and values.dim() == 2 and ".h." in name:
            values = values.t()  # stored as input × output
        for part, heads in (("q_proj", fields["n_head"]), ("k_proj", fields["n_kv_head"])):
            if kind == "llama" and f".{part}." in name:
                values = _interleaved(values, heads)
        yield there, values.contiguous().numpy()
    scaling = fields["rope_scaling"]
    if scaling is not None and scaling["rope_type"] == "llama3":
        plain, scaled = (
            rotary_frequencies(fields["head_dim"], fields["rope_theta"], one) for one in (None, scaling)
        )
        yield "rope_freqs.weight", (plain / scaled).numpy()


def _interleaved(values: Tensor, heads: int) -> Tensor:
    """Rows of each head reordered: llama.cpp's `llama` turns neighbouring channels, ours the two halves."""
    halves = values.view(heads, 2, -1, *values.shape[1:])
    return torch.swapaxes(halves, 1, 2).reshape(values.shape)


def _is_matrix(name: str, tensor: Array) -> bool:
    return tensor.ndim == 2 and not name.startswith("position_embd") and tensor.dtype == np.float32
