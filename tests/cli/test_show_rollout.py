"""`bottega show rollout`, from a checkpoint to a picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bottega.cli import run
from bottega.models.cnn import CNN, CNNConfig
from bottega.models.vit import ViT, ViTConfig


def test_it_draws_held_out_pictures_and_where_the_class_is_read(tmp_path: Path) -> None:
    ViT(ViTConfig(1, 8, 8, patch=2, n_layer=1, n_head=1, n_embd=4)).save_pretrained(tmp_path / "vit")
    out = tmp_path / "rollout.png"
    assert (
        run(["show", "rollout", str(tmp_path / "vit"), "--data", "embedded", "--n", "3", "--out", str(out)])
        == 0
    )
    with Image.open(out) as picture:
        assert len(picture.convert("RGB").getcolors(100_000) or []) > 10


def test_only_a_vit_has_patches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    CNN(CNNConfig(1, 8, 8, filters=2, n_embd=2)).save_pretrained(tmp_path / "cnn")
    out = str(tmp_path / "rollout.png")
    assert run(["show", "rollout", str(tmp_path / "cnn"), "--data", "embedded", "--out", out]) == 2
    assert "give a ViT" in capsys.readouterr().err
