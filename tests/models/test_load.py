from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import bottega
from bottega.errors import InputError
from bottega.models.gpt import GPT, GPTConfig
from bottega.models.links import set_link
from bottega.models.load import load, resolve
from bottega.models.ngram import NgramModel

MODERN = {
    "norm": "rmsnorm",
    "positions": "rotary",
    "mlp": "swiglu",
    "attention_bias": False,
    "mlp_bias": False,
}


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, "gpt2"),
        ({"norm_position": "post"}, "openai-gpt"),
        (MODERN, "llama"),
        (MODERN | {"qk_norm": True}, "qwen3"),
        ({"band": 4}, "bottega-gpt"),
    ],
)
def test_every_type_comes_back_as_it_was(fields: dict[str, object], kind: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = GPT(GPTConfig(31, 8, 2, 2, 8, **fields)).eval()  # type: ignore[arg-type]
    model.save_pretrained(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == kind
    again = bottega.load(tmp_path / "model")
    assert isinstance(again, GPT)
    ids = torch.randint(0, 31, (2, 8))
    assert torch.equal(model(ids), again(ids))


def test_a_model_loaded_can_be_trained_and_saved_over_itself(tmp_path: Path) -> None:
    """The weights are the model's own, not a view of the file."""
    GPT(GPTConfig(31, 8, 1, 2, 8)).save_pretrained(tmp_path / "model")
    model = load(tmp_path / "model")
    assert isinstance(model, GPT)
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.requires_grad
            parameter.add_(1.0)
    model.save_pretrained(tmp_path / "model")
    again = load(tmp_path / "model")
    assert torch.equal(again.tok_emb.weight, model.tok_emb.weight)


def test_an_ngram_model(tmp_path: Path) -> None:
    model = NgramModel.fit([np.array([1, 2, 3, 1, 2], dtype=np.int32)], order=2, vocab_size=5, end_of_text=0)
    model.save_pretrained(tmp_path / "model")
    again = load(tmp_path / "model")
    assert isinstance(again, NgramModel)
    assert again.score([1, 2, 3]).total == model.score([1, 2, 3]).total


def test_a_run_means_its_latest_step(tmp_path: Path) -> None:
    for step in (1, 2):
        GPT(GPTConfig(31, 8, step, 2, 8)).save_pretrained(tmp_path / f"step-{step}")
        set_link(tmp_path / "latest", f"step-{step}")
    set_link(tmp_path / "best", "step-1")
    assert resolve(tmp_path).name == "step-2"
    assert load(tmp_path).config.n_layer == 2
    assert load(tmp_path / "step-1").config.n_layer == 1
    assert load(tmp_path / "best").config.n_layer == 1


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither a checkpoint .* nor a run"):
        load(tmp_path)
    set_link(tmp_path / "latest", "step-7")  # which was never completed
    with pytest.raises(InputError, match=r"neither a checkpoint .* nor a run"):
        load(tmp_path)


def test_an_unknown_type_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(
        InputError, match=r"'mamba'; the known ones are gpt2, .*, qwen3, bottega-gpt, .*bottega-ngram"
    ):
        load(tmp_path)
