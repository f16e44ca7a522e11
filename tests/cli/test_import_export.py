from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bottega.cli import run
from bottega.models.gpt import GPT, GPTConfig
from bottega.models.load import load, load_tokenizer
from bottega.text.tokenizer import Tokenizer

TEXT = ["the quick brown fox jumps over the lazy dog; the dog sleeps. " * 20]


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A small model with a tokenizer, as a run leaves it."""
    tokenizer = Tokenizer.train(TEXT, 290)
    torch.manual_seed(2)
    model = GPT(GPTConfig(tokenizer.vocab_size, 16, 2, 2, 8))
    model.save_pretrained(tmp_path / "trained")
    tokenizer.save(tmp_path / "trained")
    return tmp_path / "trained"


def test_export_opens_in_transformers_with_its_tokenizer(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transformers = pytest.importorskip("transformers")
    out = tmp_path / "out"
    assert run(["export", str(trained), "--to", "huggingface", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["architecture"] == "GPT2LMHeadModel"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(out)
    words = transformers.AutoTokenizer.from_pretrained(out)
    ours, tokenizer = load(trained).eval(), load_tokenizer(trained)
    ids = tokenizer.encode("the lazy dog")
    assert words.encode("the lazy dog", add_special_tokens=False) == ids
    tokens = torch.tensor([ids])
    torch.testing.assert_close(theirs(tokens).logits, ours(tokens), rtol=0, atol=1e-4)
    assert theirs.generation_config.eos_token_id == tokenizer.end_of_text


def test_import_makes_a_run_of_a_folder(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained / "generation_config.json").write_text('{"temperature": 0.7}')
    (trained / "README.md").write_text("# The original card\n")
    out = tmp_path / "run"
    assert run(["import", str(trained), "--out", str(out)]) == 0
    assert f"bottega generate {out}" in capsys.readouterr().out
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(load(out).eval()(ids), load(trained).eval()(ids))
    end = load_tokenizer(out).end_of_text
    assert end == load_tokenizer(trained).end_of_text
    generation = json.loads((out / "latest" / "generation_config.json").read_text())
    assert generation == {"temperature": 0.7, "bos_token_id": end, "eos_token_id": end}
    assert (out / "latest" / "README.md").read_text() == "# The original card\n"


def test_export_refuses_a_band_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    GPT(GPTConfig(31, 16, 2, 2, 8, band=4)).save_pretrained(tmp_path / "banded")
    out = tmp_path / "out"
    assert run(["export", str(tmp_path / "banded"), "--to", "huggingface", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "last 4 of 16" in error
    assert len(error.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize("verb", [["import"], ["export", "--to", "huggingface"]])
def test_what_is_there_is_not_overwritten(
    verb: list[str], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").touch()
    assert run([verb[0], str(trained), *verb[1:], "--out", str(out)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["precious"]


def test_a_damaged_checkpoint_leaves_no_run(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = trained / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    out = tmp_path / "run"
    assert run(["import", str(trained), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "damaged" in error
    assert len(error.splitlines()) == 1
    assert not out.exists()


def test_a_model_without_a_tokenizer_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    GPT(GPTConfig(31, 16, 2, 2, 8)).save_pretrained(tmp_path / "bare")
    assert run(["import", str(tmp_path / "bare"), "--out", str(tmp_path / "run")]) == 0
    assert "holds no tokenizer" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["import", "export"])
def test_help_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run([verb, "--help"])
    assert left.value.code == 0
    assert f"Example: bottega {verb} " in capsys.readouterr().out
