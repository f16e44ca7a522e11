"""The bits of a middle with its suffix and without: what is scored, and that a suffix that tells helps."""

from __future__ import annotations

import json
import math

import pytest
import torch

from bottega.cli.eval import main
from bottega.errors import InputError
from bottega.evaluation.insertion import score_middles
from bottega.models.gpt import GPT, GPTConfig
from bottega.text.tokenizer import Tokenizer

TEXT = "The apprentice ground the colours while the master drew the hand of the angel. " * 8


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([TEXT] * 3, 300)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(tokenizer.vocab_size, 64, 2, 2, 32)).eval()


def test_an_even_model_pays_the_same_with_and_without(model, tokenizer):
    even = GPT(model.config)
    torch.nn.init.zeros_(even.tok_emb.weight)  # every token is as likely as any other
    for score in score_middles(even, tokenizer, [TEXT], (8, 16)):
        assert score.middles == 4
        assert score.with_suffix == pytest.approx(score.without_suffix)
        # A token of this text has at least one byte, so no more than log2(vocabulary) bits each.
        assert 0 < score.with_suffix < math.log2(tokenizer.vocab_size)
        assert score.saving == pytest.approx(0.0, abs=1e-6)


def test_the_same_places_for_a_seed(model, tokenizer):
    first, again, other = (score_middles(model, tokenizer, [TEXT], (8,), seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert first[0].with_suffix != first[0].without_suffix


def test_what_cannot_be_scored_is_refused(model, tokenizer):
    with pytest.raises(InputError, match="longer"):
        score_middles(model, tokenizer, ["short"])


def test_the_command_prints_both(model, tokenizer, tmp_path, capsys):
    model.save_pretrained(tmp_path / "model")
    tokenizer.save(tmp_path / "model")
    (tmp_path / "text.txt").write_text(TEXT * 2)
    main([str(tmp_path / "model"), "--data", str(tmp_path / "text.txt"), "--fim", "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["characters"] for row in rows] == [8, 16, 32, 64, 128][: len(rows)]
    assert all(row["with_suffix"] > 0 and row["without_suffix"] > 0 for row in rows)
