"""The attention of a real ViT on a real file, and the page that the command writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bottega.cli import run
from bottega.errors import InputError
from bottega.evaluation.picture_attention import read_picture_attention, sees_pictures
from bottega.models.cnn import CNN, CNNConfig
from bottega.models.vit import ViT, ViTConfig

SHAPE = ViTConfig(1, 8, 12, ("angel", "lion"), 4, n_layer=2, n_head=3, n_embd=12)


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    model = ViT(SHAPE)
    torch.nn.init.normal_(model.head.weight)
    model.save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "angel.png")
    return tmp_path / "angel.png"


def test_a_vit_sees_a_picture_of_any_size(vit: Path, picture: Path) -> None:
    seen = read_picture_attention(vit, picture)
    assert seen.picture.shape == (1, 8, 12) and seen.weights.shape == (2, 3, 7, 7) and seen.grid == (2, 3)
    np.testing.assert_allclose(seen.weights.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(seen.through.sum(-1), 1, atol=1e-5)
    assert {name for name, _ in seen.said} == {"angel", "lion"}
    assert seen.said[0][1] >= seen.said[1][1] and sum(p for _, p in seen.said) == pytest.approx(1, abs=1e-5)


def test_the_page_of_the_command(vit: Path, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert run(["show", "attention", str(vit), str(picture), "--out", str(out)]) == 0
    assert '"layers": 2' in out.read_text() and "Rollout" in out.read_text()


def test_what_is_no_picture_or_no_vit(vit: Path, picture: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "page.html")
    with pytest.raises(InputError, match="no such file"):
        read_picture_attention(vit, tmp_path / "nowhere.png")
    (tmp_path / "text.png").write_text("a text")
    assert run(["show", "attention", str(vit), str(tmp_path / "text.png"), "--out", out]) == 2
    assert run(["show", "attention", str(vit), str(picture), "--target", "x", "--out", out]) == 2
    CNN(CNNConfig(filters=2, n_embd=2)).save_pretrained(tmp_path / "cnn")
    assert not sees_pictures(tmp_path / "cnn")
    assert run(["show", "attention", str(tmp_path / "cnn"), str(picture), "--out", out]) == 2
    large = ViT(replace(SHAPE, height=64, width=64, patch=1))
    large.save_pretrained(tmp_path / "large")
    with pytest.raises(InputError, match="no browser draws"):
        read_picture_attention(tmp_path / "large", picture)
