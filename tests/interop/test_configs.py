from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.errors import InputError
from bottega.interop.huggingface import checkpoint_config, config_from_huggingface, config_to_huggingface

SIZES = {"vocab_size": 61, "context_length": 32, "n_layer": 2, "n_head": 4, "n_embd": 24}
MODERN = {
    "norm": "rmsnorm",
    "positions": "rotary",
    "mlp": "swiglu",
    "attention_bias": False,
    "mlp_bias": False,
}
GPT2 = {"model_type": "gpt2", "vocab_size": 61, "n_positions": 32, "n_layer": 2, "n_head": 4, "n_embd": 24}
LLAMA = {
    "model_type": "llama",
    "vocab_size": 61,
    "max_position_embeddings": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_size": 24,
    "intermediate_size": 40,
}
QWEN3 = LLAMA | {"model_type": "qwen3", "head_dim": 8}


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, "gpt2"),
        ({"band": 32}, "gpt2"),
        ({"band": 8, "n_layer": 1}, "gpt2"),  # the first layer is dense, and there is no second
        ({"norm_position": "post"}, "openai-gpt"),
        (MODERN, "llama"),
        (MODERN | {"qk_norm": True}, "qwen3"),
    ],
)
def test_each_family_has_its_architecture(fields: dict[str, Any], kind: str) -> None:
    assert config_to_huggingface(SIZES | fields)["model_type"] == kind


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"band": 31}, "the odd ones only the last 31 of 32"),
        (MODERN | {"band": 8}, "last 8 of 32"),
        ({"norm": "rmsnorm"}, "norm is 'layernorm', and here 'rmsnorm'"),
        ({"mlp": "swiglu"}, "mlp"),
        ({"attention_bias": False}, "attention_bias is True, and here False"),
        ({"n_kv_head": 2}, "n_kv_head"),
        ({"head_dim": 5}, "head_dim is n_embd, and here it is 20"),
        ({"norm_position": "post", "mlp": "gelu"}, "gelu_tanh"),
        ({"norm_position": "post", "n_inner": 40}, "n_inner is 96, and here 40"),
        (MODERN | {"norm_position": "post"}, "norm_position"),
        (MODERN | {"norm": "layernorm"}, "rmsnorm"),
        (MODERN | {"qk_norm": True, "mlp_bias": True}, "mlp_bias is False, and here True"),
        (MODERN | {"n_embd": 22, "head_dim": 6}, "multiple of n_head"),
    ],
)
def test_what_no_architecture_can_say_is_refused_with_the_reason(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        config_to_huggingface(SIZES | fields)
    own = checkpoint_config(SIZES | fields)
    assert own["model_type"] == "bottega-gpt"
    read = config_from_huggingface(own)
    assert {name: read[name] for name in SIZES | fields} == SIZES | fields


@pytest.mark.parametrize("fields", [{}, {"norm_position": "post"}, MODERN, MODERN | {"qk_norm": True}])
def test_a_configuration_survives_the_journey(fields: dict[str, Any]) -> None:
    extra = {"dropout": 0.1, "norm_eps": 1e-7, "tied": False}
    if fields.get("positions") == "rotary":
        extra |= {"rope_theta": 1e6, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}
        extra |= {"n_kv_head": 2, "head_dim": 10, "n_inner": 33}
    read = config_from_huggingface(config_to_huggingface(SIZES | fields | extra))
    assert {name: read[name] for name in SIZES | fields | extra} == SIZES | fields | extra


@pytest.mark.parametrize(
    ("hf", "complaint"),
    [
        ({}, "model_type is None"),
        ({"model_type": "mamba"}, "model_type is 'mamba'; .*gpt2, openai-gpt, llama, qwen3"),
        ({k: v for k, v in GPT2.items() if k != "n_layer"}, "has no n_layer"),
        (GPT2 | {"n_layer": -3}, "n_layer is -3"),
        (GPT2 | {"n_head": 0}, "n_head is 0"),
        (GPT2 | {"n_head": 5}, "n_embd 24 is not a multiple of n_head 5"),
        (GPT2 | {"n_embd": "24"}, "n_embd is '24'"),
        (GPT2 | {"n_embd": True}, "n_embd is True"),
        (GPT2 | {"vocab_size": 1e3}, "vocab_size is 1000.0"),
        (GPT2 | {"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon is nan"),
        (GPT2 | {"resid_pdrop": 1.0}, "resid_pdrop is 1.0"),
        (GPT2 | {"activation_function": "relu"}, "activation_function is 'relu'"),
        (GPT2 | {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        (GPT2 | {"scale_attn_weights": False}, "scale_attn_weights is False"),
        (GPT2 | {"add_cross_attention": True}, "add_cross_attention is True"),
        (GPT2 | {"model_type": "openai-gpt", "afn": "relu"}, "afn is 'relu'"),
        (LLAMA | {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        (LLAMA | {"num_key_value_heads": 3}, "4 heads cannot share 3"),
        (LLAMA | {"head_dim": 7}, "head_dim 7 is odd"),
        (LLAMA | {"hidden_size": 22}, "hidden_size 22 is not a multiple"),
        (LLAMA | {"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'"),
        (LLAMA | {"quantization_config": {"quant_method": "awq"}}, "quantised"),
        (LLAMA | {"rope_theta": -1}, "rope_theta is -1"),
        (LLAMA | {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "scaled as 'dynamic'"),
        (LLAMA | {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "scaled as 'yarn'"),
        (LLAMA | {"rope_parameters": {"rope_type": "llama3", "factor": 2.0}}, "no low_freq_factor"),
        (LLAMA | {"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "differ between layers"),
        (LLAMA | {"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor is 0.5"),
        (QWEN3 | {"use_sliding_window": True}, "use_sliding_window is True"),
        (QWEN3 | {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        (checkpoint_config(SIZES | {"band": 4}) | {"n_teeth": 32}, "no field 'n_teeth'"),
        (checkpoint_config(SIZES | {"band": 4}) | {"norm": "batch"}, "norm is 'batch'"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(hf: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        config_from_huggingface(hf)
    assert "\n" not in str(caught.value)


def test_defaults_are_those_of_transformers() -> None:
    llama = config_from_huggingface(LLAMA)
    assert (llama["n_kv_head"], llama["head_dim"], llama["norm_eps"]) == (4, 6, 1e-6)
    assert (llama["tied"], llama["rope_theta"], llama["attention_bias"]) == (False, 10000.0, False)
    assert config_from_huggingface({k: v for k, v in QWEN3.items() if k != "head_dim"})["head_dim"] == 128
    gpt2 = config_from_huggingface(GPT2 | {"n_inner": None})
    assert (gpt2["n_inner"], gpt2["tied"], gpt2["mlp"], gpt2["dropout"]) == (96, True, "gelu_tanh", 0.1)


_odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
_wholes = [
    GPT2 | {"activation_function": "gelu", "model_type": "gpt2", "n_inner": None, "attn_pdrop": 0.0},
    QWEN3 | {"rope_scaling": None, "rope_parameters": {"rope_type": "default"}, "layer_types": None},
    checkpoint_config(SIZES | {"band": 4}),
]


@given(st.sampled_from(_wholes), st.data())
@settings(max_examples=300, deadline=None)
def test_no_value_of_any_field_escapes_the_checks(hf: dict[str, Any], data: st.DataObject) -> None:
    hf = hf | {data.draw(st.sampled_from(sorted(hf))): data.draw(_odd)}
    try:
        fields = config_from_huggingface(hf)
    except InputError:
        return
    assert fields["n_head"] % fields["n_kv_head"] == 0
    assert min(fields[name] for name in SIZES) >= 1
