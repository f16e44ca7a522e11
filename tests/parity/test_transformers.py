"""The same weights give the same logits here and in `transformers`, whoever wrote the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bottega.models.gpt import GPT, GPTConfig

transformers = pytest.importorskip("transformers")
transformers.logging.disable_progress_bar()

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
SMALL = {"vocab_size": 61, "n_layer": 2, "n_head": 2, "n_embd": 24, "n_positions": 32}
WIDE = {
    "vocab_size": 61,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 24,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
}
# What transformers may hold: its model types, and what their configurations can vary.
THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", SMALL),
    "gpt2, odd sizes, untied, exact gelu": (
        "gpt2",
        SMALL
        | {"vocab_size": 53, "n_inner": 37, "tie_word_embeddings": False, "activation_function": "gelu"}
        | {"n_head": 3, "n_embd": 21, "layer_norm_epsilon": 1e-3},
    ),
    "openai-gpt": ("openai-gpt", SMALL),
    "openai-gpt, odd sizes, untied": (
        "openai-gpt",
        SMALL | {"vocab_size": 53, "n_head": 3, "n_embd": 15, "tie_word_embeddings": False},
    ),
    "llama": ("llama", WIDE),
    "llama, tied, one kv head, biases": (
        "llama",
        WIDE
        | {"tie_word_embeddings": True, "num_key_value_heads": 1, "attention_bias": True, "mlp_bias": True},
    ),
    "llama, llama3 scaling": (
        "llama",
        WIDE | {"head_dim": 10, "rope_parameters": LLAMA3 | {"rope_theta": 5e5}, "rms_norm_eps": 1e-3},
    ),
    "llama, linear scaling": (
        "llama",
        WIDE | {"rope_parameters": {"rope_type": "linear", "factor": 2.5, "rope_theta": 1e4}},
    ),
    "qwen3": ("qwen3", WIDE | {"head_dim": 8}),
    "qwen3, odd sizes, theta of a million": (
        "qwen3",
        WIDE
        | {"head_dim": 14, "num_key_value_heads": 1, "hidden_size": 23, "intermediate_size": 19}
        | {"tie_word_embeddings": True, "attention_bias": True, "vocab_size": 53}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    ),
}
MODERN = {
    "norm": "rmsnorm",
    "positions": "rotary",
    "mlp": "swiglu",
    "mlp_bias": False,
    "attention_bias": False,
}
# What we may hold and transformers can say.
OURS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "gpt2, odd sizes, untied, exact gelu": {"n_inner": 37, "tied": False, "mlp": "gelu", "norm_eps": 1e-3},
    "gpt2, banded, context within the band": {"band": 32},
    "openai-gpt": {"norm_position": "post", "norm_eps": 1e-3},
    "llama": MODERN,
    "llama, untied, biases, one kv head": MODERN
    | {"tied": False, "attention_bias": True, "mlp_bias": True, "n_kv_head": 1, "head_dim": 6, "n_inner": 19},
    "llama, llama3 scaling": MODERN | {"rope_scaling": LLAMA3, "rope_theta": 5e5},
    "llama, linear scaling": MODERN | {"rope_scaling": {"rope_type": "linear", "factor": 2.5}},
    "qwen3": MODERN | {"qk_norm": True, "n_kv_head": 2, "rope_theta": 1e6},
    "qwen3, odd sizes": MODERN
    | {"qk_norm": True, "n_embd": 23, "head_dim": 14, "n_kv_head": 1, "tied": False, "attention_bias": True},
}


def _scramble(model: nn.Module) -> nn.Module:
    """Weights far from any initialisation, so that no bias and no norm may go missing unseen."""
    torch.manual_seed(5)
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, mean=float(parameter.dim() == 1 and "bias" not in name), std=0.3)
    return model.eval()


def _theirs(case: str) -> Any:
    kind, settings = THEIRS[case]
    config = transformers.AutoConfig.for_model(kind, **settings, bos_token_id=None, eos_token_id=None)
    return _scramble(transformers.AutoModelForCausalLM.from_config(config))


def _same_logits(ours: GPT, theirs: Any) -> None:
    ids = torch.randint(0, ours.config.vocab_size, (2, ours.config.context_length))
    with torch.inference_mode():
        mine, reference = ours.eval()(ids), theirs(ids).logits
    assert reference.std() > 0.3
    torch.testing.assert_close(mine, reference, rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", THEIRS)
@pytest.mark.parametrize("shard_size", ["1GB", "9KB"])
def test_their_folder_gives_the_same_logits_here(case: str, shard_size: str, tmp_path: Path) -> None:
    theirs = _theirs(case)
    theirs.save_pretrained(tmp_path, max_shard_size=shard_size)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard_size == "9KB")
    _same_logits(GPT.from_pretrained(tmp_path), theirs)


@pytest.mark.parametrize("case", OURS)
def test_our_folder_gives_the_same_logits_and_greedy_tokens_there(case: str, tmp_path: Path) -> None:
    sizes = {"vocab_size": 61, "context_length": 32, "n_layer": 2, "n_head": 4, "n_embd": 24}
    ours = _scramble(GPT(GPTConfig(**(sizes | OURS[case]))))
    assert isinstance(ours, GPT)
    ours.save_pretrained(tmp_path / "ours")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    assert theirs.config.model_type == case.split(",")[0]
    _same_logits(ours, theirs)

    ids = torch.randint(0, ours.config.vocab_size, (1, 4))
    seen = torch.ones_like(ids)  # else it takes token 0 for padding
    generated = theirs.generate(ids, attention_mask=seen, max_new_tokens=20, do_sample=False, pad_token_id=0)
    with torch.inference_mode():
        for _ in range(20):
            ids = torch.cat((ids, ours(ids)[:, -1].argmax(-1, keepdim=True)), 1)
    assert generated.tolist() == ids.tolist()
    assert len(set(ids[0, 4:].tolist())) > 2  # a sequence that says something

    again = GPT.from_pretrained(tmp_path / "ours")
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_theta_is_read_in_its_old_and_in_its_new_form(tmp_path: Path) -> None:
    theirs = _theirs("llama, llama3 scaling")
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    parameters = config.pop("rope_parameters")
    theta = parameters.pop("rope_theta")
    assert theta == 5e5
    parameters["type"] = parameters.pop("rope_type")  # the oldest name
    path.write_text(json.dumps(config | {"rope_theta": theta, "rope_scaling": parameters}))
    _same_logits(GPT.from_pretrained(tmp_path), theirs)


def test_stored_masks_and_missing_prefixes_of_old_files_do_no_harm(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    theirs = _theirs("gpt2")
    theirs.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    old = {name.removeprefix("transformer."): tensor for name, tensor in stored.items()}
    old |= {"h.0.attn.bias": torch.ones(1, 1, 32, 32), "h.1.attn.masked_bias": torch.tensor(-1e4)}
    old |= {"lm_head.weight": old["wte.weight"].clone()}
    save_file(old, tmp_path / "model.safetensors")
    _same_logits(GPT.from_pretrained(tmp_path), theirs)


def test_half_precision_comes_through_bit_for_bit(tmp_path: Path) -> None:
    theirs = _theirs("qwen3").to(torch.bfloat16)
    theirs.save_pretrained(tmp_path)
    state = GPT.from_pretrained(tmp_path).state_dict()
    embedding = theirs.get_input_embeddings().weight
    assert torch.equal(state["tok_emb.weight"].float(), embedding.float())
