from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from bottega.cli import run
from bottega.models.gpt import GPT, GPTConfig
from bottega.text.tokenizer import Tokenizer

TEXT = "In the beginning was the word, and the word was counted.\n" * 20


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A GPT whose head is zero: every token costs log(vocabulary), whatever it reads."""
    tokenizer = Tokenizer.train([TEXT], 275)
    gpt = GPT(GPTConfig(tokenizer.vocab_size, 32, 1, 2, 16, tied=False))
    torch.nn.init.zeros_(gpt.head.weight)
    gpt.save_pretrained(tmp_path / "uniform")
    tokenizer.save(tmp_path / "uniform")
    return tmp_path / "uniform"


def test_uniform_model_costs_log_vocabulary_a_token(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = tmp_path / "heldout.txt"
    held_out.write_text(TEXT)
    assert run(["eval", str(model), "--data", str(held_out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    tokenizer = Tokenizer.load(model)
    count = len(tokenizer.encode(TEXT)) + 1  # and the document's end
    assert result["tokens"] == count
    assert result["perplexity"] == pytest.approx(tokenizer.vocab_size, rel=1e-5)
    assert result["bits_per_byte"] == pytest.approx(
        count * math.log2(tokenizer.vocab_size) / len(TEXT), rel=1e-5
    )


@pytest.mark.parametrize("content", [b"", b"\0\0\1"])
def test_bad_data_is_one_line(
    model: Path, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad").write_bytes(content)
    assert run(["eval", str(model), "--data", str(tmp_path / "bad")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
