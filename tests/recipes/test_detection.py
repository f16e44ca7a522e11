"""The preset of DETR: a run on drawn scenes, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from bottega.errors import InputError
from bottega.models.detr import DETR, DETRConfig
from bottega.models.load import load
from bottega.recipes import scenes
from bottega.recipes.detection import train_detr
from bottega.recipes.scenes import SceneTraining

SHAPE = DETRConfig(n_query=4, n_embd=16, n_inner=16, n_head=2, n_encoder_layer=1, n_decoder_layer=1)
TRAINING = SceneTraining(steps=3, batch_size=4, size=16, precision="fp32", validate_every=3)


def test_a_run_from_scenes_to_average_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "VALIDATED", 12)
    monkeypatch.setattr(scenes, "MEASURED", 20)
    out = tmp_path / "run"
    line = train_detr(SHAPE, ("scenes",), out, TRAINING, None)
    assert line.startswith(f"{out / 'step-3'}: 3 steps, 12 scenes; AP50 0.") and "circle" in line
    model = load(out)
    assert isinstance(model, DETR) and model.picture_shape == (3, 16, 16) and model.config.n_class == 6
    drawn = sorted((out / "samples").iterdir())
    assert [file.name for file in drawn][-1] == "step-000003.png"
    with Image.open(drawn[-1]) as picture:
        assert picture.size[0] > 500
    assert '"ap50"' in (out / "curves.jsonl").read_text("utf-8")


def test_what_it_cannot_learn_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data mnist: this model learns from drawn scenes; give scenes"):
        train_detr(SHAPE, ("mnist",), tmp_path, TRAINING, None)
    with pytest.raises(InputError, match="4 queries cannot find 5 objects"):
        train_detr(SHAPE, ("scenes",), tmp_path, replace(TRAINING, max_objects=5), None)
    with pytest.raises(InputError, match="give another stride"):
        train_detr(SHAPE, ("embedded",), tmp_path, replace(TRAINING, size=18), None)
