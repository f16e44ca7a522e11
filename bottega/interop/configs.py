"""The configurations of `gpt2`, `openai-gpt`, `llama` and `qwen3` folders, in our fields and back.

This file knows no class of ours: a configuration is a dict of the GPT's fields (`n_layer`, `norm`, …) on one
side and a `config.json` as `transformers` writes it on the other. What one side can say and the other cannot
is refused with the reason, never approximated. The tensors are mapped in `tensors.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bottega.errors import InputError
from bottega.interop.values import divides, flag, number, rate, require, size

Fields = dict[str, Any]
OWN = "bottega-gpt"
ARCHITECTURES = {
    "gpt2": "GPT2LMHeadModel",
    "openai-gpt": "OpenAIGPTLMHeadModel",
    "llama": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    OWN: "GPT",
}
REQUIRED = ("vocab_size", "context_length", "n_layer", "n_head", "n_embd")
DEFAULTS: Fields = {
    "n_kv_head": None,
    "head_dim": None,
    "n_inner": None,
    "norm": "layernorm",
    "norm_position": "pre",
    "norm_eps": 1e-5,
    "positions": "learned",
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "mlp": "gelu_tanh",
    "qk_norm": False,
    "attention_bias": True,
    "mlp_bias": True,
    "tied": True,
    "band": None,
    "dropout": 0.0,
}
HOUSEKEEPING = (
    "model_type",
    "architectures",
    "dtype",
    "torch_dtype",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "fim_rate",
)
ROPE_NUMBERS = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}


def config_from_huggingface(hf: Mapping[str, Any]) -> Fields:
    """A GPT's fields, all of them filled in, from the contents of a config.json.

    Raises InputError, naming the field, where the file lacks one, holds an impossible value, or describes
    something that our GPT does not compute.
    """
    kind = hf.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise InputError(f"config.json: model_type is {kind!r}; a GPT is read from one of {known}")
    if hf.get("quantization_config"):
        raise InputError("config.json: the weights are quantised; give the checkpoint they were made from")
    if kind == OWN:
        fields = _from_own(hf)
    elif kind in ("llama", "qwen3"):
        fields = _from_llama(hf)
    else:
        fields = _from_gpt2(hf)
    _check_heads(fields)
    return fields


def config_to_huggingface(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json in which `transformers` computes the same logits as a GPT with these fields.

    Raises InputError with the reason where no architecture there can say it.
    """
    fields = _complete(fields)
    if fields["positions"] == "rotary":
        kind = "qwen3" if fields["qk_norm"] else "llama"
    else:
        kind = "openai-gpt" if fields["norm_position"] == "post" else "gpt2"
    reason = _mismatch(kind, fields)
    if reason:
        raise InputError(
            f"transformers has no architecture for this model; {kind} comes nearest, but {reason}"
        )
    return _to_llama(kind, fields) if kind in ("llama", "qwen3") else _to_gpt2(kind, fields)


def checkpoint_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of our checkpoints: what `transformers` opens where it can say the model, else ours."""
    try:
        return config_to_huggingface(fields)
    except InputError:
        return {"model_type": OWN, "architectures": [ARCHITECTURES[OWN]], **_complete(fields)}


def _complete(fields: Mapping[str, Any]) -> Fields:
    """All fields, with the sizes that follow from others written out."""
    full = {**DEFAULTS, **fields}
    derived = {
        "n_kv_head": full["n_head"],
        "head_dim": full["n_embd"] // full["n_head"],
        "n_inner": 4 * full["n_embd"],
    }
    return full | {name: value for name, value in derived.items() if full[name] is None}


# reading


def _from_gpt2(hf: Mapping[str, Any]) -> Fields:
    """`gpt2` and `openai-gpt`: they differ in where the norms stand and in what "gelu" means."""
    post = hf["model_type"] == "openai-gpt"
    exact = "the GPT computes softmax(q·k/√D) alone"
    for name in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        require(hf, name, (False,), exact)
    require(hf, "scale_attn_weights", (True,), exact)
    if post:  # transformers looks "gelu" up as GPT-1's own tanh form
        require(hf, "afn", ("gelu",), "GPT-1's feed-forward layer is a GELU", default="gelu")
        mlp = "gelu_tanh"
    else:
        tanh = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
        name = require(
            hf, "activation_function", (*tanh, "gelu"), "the GPT's feed-forward layer is a GELU", "gelu_new"
        )
        mlp = "gelu_tanh" if name in tanh else "gelu"
    width, heads = size(hf, "n_embd"), size(hf, "n_head")
    divides(width, heads, "n_embd", "n_head")
    rates = {rate(hf, name, 0.1) for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}
    return _complete(
        {
            "vocab_size": size(hf, "vocab_size"),
            "context_length": size(hf, "n_positions"),
            "n_layer": size(hf, "n_layer", most=10_000),
            "n_head": heads,
            "n_embd": width,
            "n_inner": 4 * width if post else size(hf, "n_inner", 4 * width),
            "norm_position": "post" if post else "pre",
            "norm_eps": number(hf, "layer_norm_epsilon", 1e-5),
            "mlp": mlp,
            "tied": flag(hf, "tie_word_embeddings", True),
            "dropout": min(rates),  # ours is one rate; it matters in training only
        }
    )


def _from_llama(hf: Mapping[str, Any]) -> Fields:
    """`llama` and `qwen3`, which differ in the norms of queries and keys and in the default head width."""
    qwen = hf["model_type"] == "qwen3"
    require(hf, "hidden_act", ("silu", "swish"), "the GPT's gated layer is a SwiGLU", default="silu")
    require(hf, "use_sliding_window", (False,), "the GPT has no sliding windows of this kind")
    layers = hf.get("layer_types")
    if layers is not None and (
        not isinstance(layers, list) or any(kind != "full_attention" for kind in layers)
    ):
        raise InputError(
            "config.json: layer_types has layers without full attention; the GPT has none of these"
        )
    width, heads = size(hf, "hidden_size"), size(hf, "num_attention_heads")
    if not qwen:
        divides(width, heads, "hidden_size", "num_attention_heads")
    theta, scaling = _rope(hf)
    return _complete(
        {
            "vocab_size": size(hf, "vocab_size"),
            "context_length": size(hf, "max_position_embeddings"),
            "n_layer": size(hf, "num_hidden_layers", most=10_000),
            "n_head": heads,
            "n_embd": width,
            "n_kv_head": size(hf, "num_key_value_heads", heads),
            "head_dim": size(hf, "head_dim", 128 if qwen else width // heads),
            "n_inner": size(hf, "intermediate_size"),
            "norm": "rmsnorm",
            "norm_eps": number(hf, "rms_norm_eps", 1e-6),
            "positions": "rotary",
            "rope_theta": theta,
            "rope_scaling": scaling,
            "mlp": "swiglu",
            "qk_norm": qwen,
            "attention_bias": flag(hf, "attention_bias", False),
            "mlp_bias": not qwen and flag(hf, "mlp_bias", False),
            "tied": flag(hf, "tie_word_embeddings", False),
            "dropout": rate(hf, "attention_dropout", 0.0),
        }
    )


def _from_own(hf: Mapping[str, Any]) -> Fields:
    unknown = [name for name in hf if name not in (*REQUIRED, *DEFAULTS, *HOUSEKEEPING)]
    if unknown:
        raise InputError(
            f"config.json: a {OWN} has no field {unknown[0]!r}; a newer version may have written it"
        )
    choices = {
        "norm": ("layernorm", "rmsnorm"),
        "norm_position": ("pre", "post"),
        "positions": ("learned", "rotary"),
        "mlp": ("gelu", "gelu_tanh", "swiglu"),
    }
    fields: Fields = {name: size(hf, name) for name in REQUIRED}
    fields |= {"n_layer": size(hf, "n_layer", most=10_000)}
    for name, default in DEFAULTS.items():
        if name in choices:
            fields[name] = require(
                hf, name, choices[name], "expected one of " + ", ".join(choices[name]), default
            )
        elif isinstance(default, bool):
            fields[name] = flag(hf, name, default)
        elif name == "dropout":
            fields[name] = rate(hf, name, default)
        elif isinstance(default, float):
            fields[name] = number(hf, name, default)
        elif name != "rope_scaling":
            fields[name] = None if hf.get(name) is None else size(hf, name)
    if fields["head_dim"] is None:
        divides(fields["n_embd"], fields["n_head"], "n_embd", "n_head")
    return _complete(fields | {"rope_scaling": _rope(hf)[1]})


def _rope(hf: Mapping[str, Any]) -> tuple[float, dict[str, Any] | None]:
    """θ and the scaling, from `rope_parameters` (transformers 5) or from `rope_theta` and `rope_scaling`."""
    given = hf.get("rope_scaling") or hf.get("rope_parameters") or {}
    if not isinstance(given, Mapping) or any(isinstance(value, Mapping) for value in given.values()):
        raise InputError(
            "config.json: the rotary positions differ between layers; the GPT's are the same in all"
        )
    kind = given.get("rope_type", given.get("type", "default"))
    if not isinstance(kind, str) or kind not in ROPE_NUMBERS:
        known = ", ".join(ROPE_NUMBERS)
        raise InputError(f"config.json: rotary positions are scaled as {kind!r}; the GPT computes {known}")
    for source in (hf, given):
        require(source, "partial_rotary_factor", (1,), "the GPT turns all channels of a head")
    theta = number({"rope_theta": given.get("rope_theta", hf.get("rope_theta"))}, "rope_theta", 10000.0)
    numbers = {name: number(given, name) for name in ROPE_NUMBERS[kind]}
    if kind == "llama3" and numbers["high_freq_factor"] <= numbers["low_freq_factor"]:
        raise InputError("config.json: high_freq_factor must be above low_freq_factor")
    return theta, {"rope_type": kind, **numbers} if numbers else None


# writing


def _mismatch(kind: str, fields: Fields) -> str | None:
    """Why `kind` cannot say the model, or None where it can."""
    band, context = fields["band"], fields["context_length"]
    if band is not None and context > band and fields["n_layer"] > 1:
        return (
            f"there all layers see all tokens, and here the odd ones only the last {band} of {context} "
            f"(a context of at most {band} could be exported)"
        )
    needs: Fields = {"norm_position": "pre"}
    if kind in ("gpt2", "openai-gpt"):
        needs |= {"norm": "layernorm", "qk_norm": False, "attention_bias": True, "mlp_bias": True}
        needs |= {
            "n_kv_head": fields["n_head"],
            "mlp": "gelu_tanh" if kind == "openai-gpt" else fields["mlp"],
        }
        if kind == "openai-gpt":
            needs |= {"norm_position": "post", "n_inner": 4 * fields["n_embd"]}
        if fields["mlp"] == "swiglu":
            needs["mlp"] = "gelu_tanh"
        if fields["head_dim"] * fields["n_head"] != fields["n_embd"]:
            return (
                f"there n_head × head_dim is n_embd, and here it is {fields['head_dim'] * fields['n_head']}"
            )
    else:
        needs |= {"norm": "rmsnorm", "mlp": "swiglu"}
        if kind == "qwen3":
            needs["mlp_bias"] = False
        elif fields["n_embd"] % fields["n_head"]:
            return (
                f"there n_embd is a multiple of n_head, not {fields['n_embd']} for {fields['n_head']} heads"
            )
    wrong = [name for name, value in needs.items() if fields[name] != value]
    return f"there {wrong[0]} is {needs[wrong[0]]!r}, and here {fields[wrong[0]]!r}" if wrong else None


def _to_gpt2(kind: str, fields: Fields) -> dict[str, Any]:
    hf = {
        "model_type": kind,
        "architectures": [ARCHITECTURES[kind]],
        "vocab_size": fields["vocab_size"],
        "n_positions": fields["context_length"],
        "n_layer": fields["n_layer"],
        "n_head": fields["n_head"],
        "n_embd": fields["n_embd"],
        "layer_norm_epsilon": fields["norm_eps"],
        "tie_word_embeddings": fields["tied"],
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), fields["dropout"]),
        # transformers' default ids are those of the original vocabularies
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if kind == "openai-gpt":
        return hf | {"afn": "gelu"}
    activation = "gelu" if fields["mlp"] == "gelu" else "gelu_new"
    return hf | {"activation_function": activation, "n_inner": fields["n_inner"]}


def _to_llama(kind: str, fields: Fields) -> dict[str, Any]:
    theta, scaling = fields["rope_theta"], fields["rope_scaling"]
    hf = {
        "model_type": kind,
        "architectures": [ARCHITECTURES[kind]],
        "vocab_size": fields["vocab_size"],
        "max_position_embeddings": fields["context_length"],
        "num_hidden_layers": fields["n_layer"],
        "num_attention_heads": fields["n_head"],
        "num_key_value_heads": fields["n_kv_head"],
        "head_dim": fields["head_dim"],
        "hidden_size": fields["n_embd"],
        "intermediate_size": fields["n_inner"],
        "hidden_act": "silu",
        "rms_norm_eps": fields["norm_eps"],
        # Both forms: the first two as transformers 4 has them, the third as transformers 5 does.
        "rope_theta": theta,
        "rope_scaling": scaling,
        "rope_parameters": {"rope_type": "default", **(scaling or {}), "rope_theta": theta},
        "attention_bias": fields["attention_bias"],
        "attention_dropout": fields["dropout"],
        "tie_word_embeddings": fields["tied"],
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if kind == "qwen3":
        window = {"use_sliding_window": False, "sliding_window": None, "max_window_layers": fields["n_layer"]}
        return hf | window
    return hf | {"mlp_bias": fields["mlp_bias"]}


def _check_heads(fields: Fields) -> None:
    if fields["n_head"] % fields["n_kv_head"]:
        raise InputError(
            f"config.json: {fields['n_head']} heads cannot share {fields['n_kv_head']} key and value heads"
        )
    if fields["positions"] == "rotary" and fields["head_dim"] % 2:
        raise InputError(
            f"config.json: head_dim {fields['head_dim']} is odd; rotary positions turn pairs of channels"
        )
