"""`bottega show positions` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bottega.cli import run
from bottega.models.transformer import TransformerConfig

SHAPE = {"n_encoder_layer": 1, "n_decoder_layer": 1, "n_head": 2, "n_embd": 8, "n_inner": 8}


def saved(folder: Path, positions: str) -> str:
    TransformerConfig(20, 24, positions=positions, **SHAPE).build().save_pretrained(folder)  # type: ignore[arg-type]
    return str(folder)


def test_tables_are_drawn_with_those_that_were_learnt(tmp_path: Path, capsys) -> None:
    plain, learnt = tmp_path / "plain.png", tmp_path / "learnt.png"
    assert run(["show", "positions", "--out", str(plain), "--n", "16", "--width", "8"]) == 0
    model = saved(tmp_path / "model", "learnt")
    argv = ["show", "positions", "--out", str(learnt), "--n", "16", "--width", "8", "--model", model]
    assert run(argv) == 0
    assert capsys.readouterr().out == f"{plain}\n{learnt}\n"
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in (plain, learnt))
    assert plain.read_bytes() != learnt.read_bytes()


@pytest.mark.parametrize(
    ("more", "said"),
    [(["--n", "1"], "expected at least 2"), (["--width", "7"], "an even width")],
)
def test_senseless_sizes(more: list[str], said: str, tmp_path: Path, capsys) -> None:
    assert run(["show", "positions", "--out", str(tmp_path / "p.png"), *more]) == 2
    assert said in capsys.readouterr().err


def test_positions_that_are_not_learnt(tmp_path: Path, capsys) -> None:
    model = saved(tmp_path / "model", "rotary")
    assert run(["show", "positions", "--out", str(tmp_path / "p.png"), "--model", model]) == 2
    assert "its positions are not learnt" in capsys.readouterr().err
