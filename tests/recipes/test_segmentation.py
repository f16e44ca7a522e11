"""SegFormer as a preset: it trains, says what it reached, draws what it sees, and takes scenes alone."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bottega.data.scenes import SHAPES
from bottega.errors import InputError
from bottega.models.load import load
from bottega.recipes import scenes
from bottega.recipes.presets import find
from bottega.recipes.scenes import SceneTraining
from bottega.recipes.segmentation import train_segformer

PRESET = find("segformer-tiny")
QUICK = SceneTraining(
    steps=2, batch_size=4, size=16, max_objects=2, validate_every=2, precision="fp32", compile="off"
)


@pytest.mark.parametrize("word", ["scenes", "embedded"])
def test_it_trains_on_scenes_and_says_what_it_reached(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, fewer in {"MEASURED": 100, "VALIDATED": 20, "SHOWN": 2}.items():
        monkeypatch.setattr(scenes, name, fewer)
    out = tmp_path / "run"
    said = train_segformer(PRESET.shape, (word,), out, QUICK, None)
    assert re.search(r"step-2: 2 steps, 8 scenes; mean IoU 0\.\d+ on 100 held-out scenes \(background", said)
    assert load(out).classes == ["background", *SHAPES]
    assert load(out).picture_shape == (3, 16, 16)
    assert (out / "samples" / "step-000002.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("data", [("mnist",), (), ("scenes", "embedded")])
def test_other_data_is_refused(data: tuple[str, ...], tmp_path: Path):
    with pytest.raises(InputError, match="learns from drawn scenes; give scenes or embedded"):
        train_segformer(PRESET.shape, data, tmp_path / "run", QUICK, None)
    assert not (tmp_path / "run").exists()


def test_scenes_that_cannot_be_drawn_are_refused(tmp_path: Path):
    for wrong in ({"size": 0}, {"max_objects": 11}):
        with pytest.raises(InputError, match="expected"):
            train_segformer(PRESET.shape, ("scenes",), tmp_path / "run", replace(QUICK, **wrong), None)


def test_b0_is_the_paper_s():
    assert find("segformer-b0").shape.widths == (32, 64, 160, 256)
