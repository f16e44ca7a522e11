"""`bottega show scenes` and `bottega show masks`: the pictures, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bottega.cli import show_masks, show_scenes
from bottega.data.scenes import COLOURS, SceneConfig, sample_scene
from bottega.errors import InputError
from bottega.models.segformer import SegFormer
from bottega.plots.masks import palette
from bottega.recipes.presets import find
from bottega.recipes.segmentation import CLASSES

SHAPE = replace(find("segformer-tiny").shape, height=16, width=16, n_class=len(CLASSES))


def pixels(file: Path) -> set[tuple[int, ...]]:
    with Image.open(file) as picture:
        colours = picture.convert("RGB").getcolors(2**24)
    assert colours is not None
    return {colour for _, colour in colours}


def bytes_of(colours: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(round(255 * float(value)) for value in colour) for colour in colours]


def test_scenes_are_drawn_with_their_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "scenes.png"
    show_scenes.main(["--n", "3", "--size", "32", "--seed", "1", "--out", str(out)])
    assert capsys.readouterr().out.strip() == str(out)
    things = [o for i in range(3) for o in sample_scene(SceneConfig(32), 1, i).objects]
    shown = pixels(out)
    assert {COLOURS[thing.colour] for thing in things} <= shown
    colours = dict(zip(CLASSES, bytes_of(palette(len(CLASSES))), strict=True))
    assert {colours[thing.shape] for thing in things} | {colours["background"]} <= shown


def test_masks_are_drawn_below_the_truth(tmp_path: Path):
    torch.manual_seed(0)
    model = SegFormer(SHAPE, CLASSES)
    with torch.no_grad():
        model.decoder.classifier.bias[:] = torch.tensor([0.0] * 6 + [1e4])  # all is a cross
    model.save_pretrained(tmp_path / "run")
    out = tmp_path / "masks.png"
    show_masks.main([str(tmp_path / "run"), "--n", "1", "--out", str(out)])
    with Image.open(out) as picture:
        page = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    background, *_, cross = bytes_of(palette(len(CLASSES)))
    guessed, true = ((page == colour).all(1).sum() for colour in (cross, background))
    assert guessed > true > 0.4 * guessed


def test_what_cannot_be_drawn_is_refused(tmp_path: Path):
    out = ["--out", str(tmp_path / "out.png")]
    for wrong, said in (
        (["--n", "0"], "--n must be from 1 to 40"),
        (["--size", "0"], "a side from 8 to 2048"),
        (["--objects", "11"], "more do not fit apart"),
        (["--seed", "-1"], "--seed must be 0 or more"),
    ):
        with pytest.raises(InputError, match=said):
            show_scenes.main([*wrong, *out])
    with pytest.raises(InputError, match=r"name a \.png"):
        show_scenes.main(["--n", "1", "--out", str(tmp_path / "scenes.docx")])
    SegFormer(replace(SHAPE, n_class=2)).save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="segments no scenes"):
        show_masks.main([str(tmp_path / "other"), *out])
    assert not (tmp_path / "out.png").exists()
