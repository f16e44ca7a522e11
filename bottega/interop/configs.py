"""The configurations of `gpt2`, `openai-gpt`, `llama` and `qwen3` folders, in our fields and back.

This file knows no class of ours: a configuration is a dict of the GPT's fields (`n_layer`, `norm`, …) on one side and
a `config.json` as `transformers` writes it on the other. What one side can say and the other cannot is refused with
the reason, never approximated. The tensors are mapped in `tensors.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bottega.errors import InputError

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
    if kind not in ARCHITECTURES:
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
    """The config.json of a checkpoint of ours: `transformers`' own where it can say the model, else "bottega-gpt"."""
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


# --- reading -------------------------------------------------------------------------------------------------------


def _from_gpt2(hf: Mapping[str, Any]) -> Fields:
    """`gpt2` and `openai-gpt`: they differ in where the norms stand and in what "gelu" means."""
    post = hf["model_type"] == "openai-gpt"
    exact = "the GPT computes softmax(q·k/√D) alone"
    for name in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        _require(hf, name, (False,), exact)
    _require(hf, "scale_attn_weights", (True,), exact)
    if post:  # transformers looks "gelu" up as GPT-1's own tanh form
        _require(hf, "afn", ("gelu",), "GPT-1's feed-forward layer is a GELU", default="gelu")
        mlp = "gelu_tanh"
    else:
        tanh = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
        name = _require(
            hf, "activation_function", (*tanh, "gelu"), "the GPT's feed-forward layer is a GELU", "gelu_new"
        )
        mlp = "gelu_tanh" if name in tanh else "gelu"
    width, heads = _size(hf, "n_embd"), _size(hf, "n_head")
    _divides(width, heads, "n_embd", "n_head")
    rates = {_number(hf, name, 0.1, least=0.0) for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}
    return _complete(
        {
            "vocab_size": _size(hf, "vocab_size"),
            "context_length": _size(hf, "n_positions"),
            "n_layer": _size(hf, "n_layer", most=10_000),
            "n_head": heads,
            "n_embd": width,
            "n_inner": 4 * width if post else _size(hf, "n_inner", 4 * width),
            "norm_position": "post" if post else "pre",
            "norm_eps": _number(hf, "layer_norm_epsilon", 1e-5),
            "mlp": mlp,
            "tied": _flag(hf, "tie_word_embeddings", True),
            "dropout": min(rates),  # ours is one rate; it matters in training only
        }
    )


def _from_llama(hf: Mapping[str, Any]) -> Fields:
    """`llama` and `qwen3`, which differ in the norms of queries and keys and in the default head width."""
    qwen = hf["model_type"] == "qwen3"
    _require(hf, "hidden_act", ("silu", "swish"), "the GPT's gated layer is a SwiGLU", default="silu")
    _require(hf, "use_sliding_window", (False,), "the GPT has no sliding windows of this kind")
    if set(hf.get("layer_types") or ()) - {"full_attention"}:
        raise InputError(
            "config.json: layer_types has layers without full attention; the GPT has none of these"
        )
    width, heads = _size(hf, "hidden_size"), _size(hf, "num_attention_heads")
    if not qwen:
        _divides(width, heads, "hidden_size", "num_attention_heads")
    theta, scaling = _rope(hf)
    return _complete(
        {
            "vocab_size": _size(hf, "vocab_size"),
            "context_length": _size(hf, "max_position_embeddings"),
            "n_layer": _size(hf, "num_hidden_layers", most=10_000),
            "n_head": heads,
            "n_embd": width,
            "n_kv_head": _size(hf, "num_key_value_heads", heads),
            "head_dim": _size(hf, "head_dim", 128 if qwen else width // heads),
            "n_inner": _size(hf, "intermediate_size"),
            "norm": "rmsnorm",
            "norm_eps": _number(hf, "rms_norm_eps", 1e-6),
            "positions": "rotary",
            "rope_theta": theta,
            "rope_scaling": scaling,
            "mlp": "swiglu",
            "qk_norm": qwen,
            "attention_bias": _flag(hf, "attention_bias", False),
            "mlp_bias": not qwen and _flag(hf, "mlp_bias", False),
            "tied": _flag(hf, "tie_word_embeddings", False),
            "dropout": _number(hf, "attention_dropout", 0.0, least=0.0),
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
    fields: Fields = {name: _size(hf, name) for name in REQUIRED}
    fields |= {"n_layer": _size(hf, "n_layer", most=10_000)}
    for name, default in DEFAULTS.items():
        if name in choices:
            fields[name] = _require(
                hf, name, choices[name], "expected one of " + ", ".join(choices[name]), default
            )
        elif isinstance(default, bool):
            fields[name] = _flag(hf, name, default)
        elif isinstance(default, float):
            fields[name] = _number(hf, name, default, least=0.0)
        elif name != "rope_scaling":
            fields[name] = None if hf.get(name) is None else _size(hf, name)
    if fields["head_dim"] is None:
        _divides(fields["n_embd"], fields["n_head"], "n_embd", "n_head")
    return _complete(fields | {"rope_scaling": _rope(hf)[1]})


def _rope(hf: Mapping[str, Any]) -> tuple[float, dict[str, Any] | None]:
    """θ and the scaling, from `rope_parameters` (transformers 5) or from `rope_theta` and `rope_scaling`."""
    given = hf.get("rope_scaling") or hf.get("rope_parameters") or {}
    if not isinstance(given, Mapping) or any(isinstance(value, Mapping) for value in given.values()):
        raise InputError(
            "config.json: the rotary positions differ between layers; the GPT's are the same in all"
        )
    kind = given.get("rope_type", given.get("type", "default"))
    if kind not in ROPE_NUMBERS:
        known = ", ".join(ROPE_NUMBERS)
        raise InputError(f"config.json: rotary positions are scaled as {kind!r}; the GPT computes {known}")
    for source in (hf, given):
        _require(source, "partial_rotary_factor", (1, None), "the GPT turns all channels of a head")
    theta = _number({"rope_theta": given.get("rope_theta", hf.get("rope_theta"))}, "rope_theta", 10000.0)
    numbers = {name: _number(given, name) for name in ROPE_NUMBERS[kind]}
    if kind == "llama3" and numbers["high_freq_factor"] <= numbers["low_freq_factor"]:
        raise InputError("config.json: high_freq_factor must be above low_freq_factor")
    return theta, {"rope_type": kind, **numbers} if numbers else None


# --- writing -------------------------------------------------------------------------------------------------------


def _mismatch(kind: str, fields: Fields) -> str | None:
    """Why `kind` cannot say the model, or None where it can."""
    band, context = fields["band"], fields["context_length"]
    if band is not None and context > band and fields["n_layer"] > 1:
        return (
            f"its odd layers see only the last {band} of {context} tokens, which none there can say "
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
        # both forms: the first two for transformers 4 and those who read as it did, the third for transformers 5
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


# --- values of a config.json, checked --------------------------------------------------------------------------------

_MISSING: Any = object()


def _value(hf: Mapping[str, Any], name: str, default: Any) -> Any:
    """The value; the default where it is absent or null."""
    value = default if hf.get(name) is None else hf[name]
    if value is _MISSING:
        raise InputError(f"config.json has no {name}; without it the weights cannot be read")
    return value


def _size(hf: Mapping[str, Any], name: str, default: Any = _MISSING, most: int = 2**31 - 1) -> int:
    value = _value(hf, name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise InputError(f"config.json: {name} is {value!r}; expected a whole number from 1 to {most}")
    return value


def _number(hf: Mapping[str, Any], name: str, default: Any = _MISSING, least: float | None = None) -> Any:
    """A number as it stands (an int stays one): above zero, or at least `least`."""
    value = _value(hf, name, default)
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    if not good or (value <= 0 if least is None else value < least):
        expected = "above 0" if least is None else f"of at least {least:g}"
        raise InputError(f"config.json: {name} is {value!r}; expected a number {expected}")
    return value


def _flag(hf: Mapping[str, Any], name: str, default: bool) -> bool:
    value = _value(hf, name, default)
    if not isinstance(value, bool):
        raise InputError(f"config.json: {name} is {value!r}; expected true or false")
    return value


def _require(
    hf: Mapping[str, Any], name: str, allowed: tuple[Any, ...], why: str, default: Any = _MISSING
) -> Any:
    value = hf.get(name, allowed[0] if default is _MISSING else default)
    if value not in allowed:
        raise InputError(f"config.json: {name} is {value!r}, which cannot be honoured: {why}")
    return value


def _divides(width: int, heads: int, width_name: str, heads_name: str) -> None:
    if width % heads:
        raise InputError(f"config.json: {width_name} {width} is not a multiple of {heads_name} {heads}")


def _check_heads(fields: Fields) -> None:
    if fields["n_head"] % fields["n_kv_head"]:
        raise InputError(
            f"config.json: {fields['n_head']} heads cannot share {fields['n_kv_head']} heads of keys and values evenly"
        )
    if fields["positions"] == "rotary" and fields["head_dim"] % 2:
        raise InputError(
            f"config.json: head_dim {fields['head_dim']} is odd; rotary positions turn pairs of channels"
        )
