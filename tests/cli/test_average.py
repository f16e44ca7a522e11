"""`bottega average` as a user runs it: a real run, a model that opens, a line for readers or programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bottega.cli import run
from bottega.models.load import load
from bottega.models.transformer import Transformer

SIZES = ["--n-encoder-layer", "1", "--n-decoder-layer", "1", "--n-embd", "16", "--n-head", "2"]
LAST = ["--steps", "4", "--batch-size", "8", "--save-every", "1", "--keep", "3", "--compile", "off"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "numbers"
    assert run(["train", "transformer-numbers", "--data", "embedded", "--out", str(out), *SIZES, *LAST]) == 0
    return out


def test_it_says_what_it_averaged(trained: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "mean"
    assert run(["average", str(trained), "--last", "2", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: the mean of step-3, step-4\n"
    assert isinstance(load(out), Transformer)
    assert run(["average", str(trained), "--last", "3", "--out", f"{out}3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"out": f"{out}3", "averaged": ["step-2", "step-3", "step-4"]}


def test_what_cannot_be_averaged_is_one_line(trained: Path, tmp_path: Path, capsys) -> None:
    for argv, said in (
        ([str(trained), "--last", "9"], "and 9 were asked for"),
        ([str(tmp_path / "none")], "holds no checkpoints"),
    ):
        assert run(["average", *argv, "--out", str(tmp_path / "mean")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()
