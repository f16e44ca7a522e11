"""`bottega show alignment` on translators with attention and without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bottega.cli import run
from bottega.data.pair_loader import Vocabulary
from bottega.data.pairs import SPECIAL_TOKENS
from bottega.models.seq2seq import Seq2SeqConfig
from bottega.text.tokenizer import Tokenizer


@pytest.mark.parametrize("attention", ["additive", "general", "none"])
def test_a_translator_shows_where_it_looked(
    attention: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = Tokenizer.train(
        ["a man rides a horse, ein Mann reitet"] * 9, 280, special_tokens=SPECIAL_TOKENS
    )
    words = Vocabulary.of(tokenizer)
    torch.manual_seed(0)
    special = {"pad": words.pad, "bos": words.bos, "eos": words.eos}
    config = Seq2SeqConfig(words.size, n_embd=8, n_hidden=8, attention=attention, **special)
    config.build().save_pretrained(tmp_path / "model")
    tokenizer.save(tmp_path / "model")
    picture = tmp_path / "alignment.png"
    command = ["show", "alignment", str(tmp_path / "model"), "a man rides", "--out", str(picture)]
    if attention == "none":
        assert run([*command, "--target", "ein Mann"]) == 2
        assert "no attention" in capsys.readouterr().err
        return
    for target in ([], ["--target", "ein Mann reitet"]):
        assert run([*command, *target]) == 0
        assert picture.read_bytes().startswith(b"\x89PNG")
        picture.unlink()
    assert run([*command, "--target", ""]) == 2
