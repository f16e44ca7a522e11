"""Classifiers of pictures from the data to the line that is printed; and what data they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bottega.cli import run
from bottega.errors import InputError
from bottega.models.abilities import ClassifiesPictures
from bottega.models.load import load
from bottega.recipes.picture_classifiers import PRESETS, ClassifierTraining

SHORT = ClassifierTraining(
    steps=60, validate_every=60, batch_size=64, optimizer="adamw", learning_rate=5e-3, precision="fp32"
)


def test_the_embedded_digits_are_told_apart(tmp_path: Path) -> None:
    preset = PRESETS["cnn"]
    said = preset.run(preset.shape, ("embedded",), tmp_path / "cnn", SHORT, None)
    assert float(said.rsplit(" ", 1)[1]) > 0.8 and "accuracy" in said
    model = load(tmp_path / "cnn")
    assert isinstance(model, ClassifiesPictures)
    assert model.picture_shape == (1, 8, 8) and list(model.classes) == list("0123456789")


def test_a_folder_names_the_classes(tmp_path: Path) -> None:
    for name in ("angel", "sibyl"):
        (tmp_path / name).mkdir()
        for number in range(12):
            grey = np.full((8, 8), 20 * number + (name == "sibyl"), np.uint8)
            Image.fromarray(grey).save(tmp_path / name / f"{number}.png")
    preset = PRESETS["cnn"]
    preset.run(preset.shape, (str(tmp_path),), tmp_path / "run", replace(SHORT, steps=1, batch_size=4), None)
    assert list(load(tmp_path / "run").classes) == ["angel", "sibyl"]


def test_patches_go_by_the_pictures_that_come(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "vit-tiny", "--data", "embedded", "--out", str(tmp_path / "vit"), "--steps", "1"]
    assert run([*words, "--patch", "3"]) == 2
    assert "patches of 3 × 3 pixels do not tile pictures of 8 × 8" in capsys.readouterr().err
    assert run([*words, "--patch", "8", "--n-embd", "8"]) == 0  # which does not divide the preset's 28
    assert load(tmp_path / "vit").config.tokens == 2


@pytest.mark.parametrize(
    ("labels", "message"), [(None, "have no labels"), ([3] * 40, "all pictures are of one class, '3'")]
)
def test_pictures_that_teach_no_classes(labels: list[int] | None, message: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    arrays = {"images": images} | ({} if labels is None else {"labels": np.array(labels)})
    np.savez(tmp_path / "some.npz", **arrays)
    preset = PRESETS["cnn"]
    with pytest.raises(InputError, match=message):
        preset.run(preset.shape, (str(tmp_path / "some.npz"),), tmp_path / "run", SHORT, None)
    assert not (tmp_path / "run").exists()
