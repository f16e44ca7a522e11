"""`bottega show interpolation`: rows from one held-out picture to another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bottega.cli import run
from bottega.cli.show_interpolation import _pairs
from bottega.data.pictures import NO_LABEL, Pictures
from bottega.models.autoencoder import Autoencoder, AutoencoderConfig
from bottega.models.rbm import RBM, RBMConfig
from bottega.models.vae import VAE, VAEConfig


def pictures(labels: list[int]) -> Pictures:
    return Pictures(np.zeros((len(labels), 1, 2, 2), np.uint8), np.array(labels), ("hand", "wing"))


def test_pairs_are_of_two_classes_and_each_comes_once() -> None:
    assert _pairs(pictures([0, 1, 0, 1, 0, 0, 1, 0]), 5) == {"hand → wing": 0, "wing → hand": 6}
    assert _pairs(pictures([0, 1, 1, 0]), 1) == {"hand → wing": 0}
    assert _pairs(pictures([NO_LABEL] * 5), 5) == {"pair 1": 0, "pair 2": 2}


@pytest.mark.parametrize("kind", ["vae", "autoencoder"])
def test_it_draws(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = (
        VAE(VAEConfig(1, 8, 8, 2, hidden=4))
        if kind == "vae"
        else Autoencoder(AutoencoderConfig(1, 8, 8, 2, hidden=4))
    )
    model.save_pretrained(tmp_path / "model")
    out = tmp_path / "between.png"
    asked = ["show", "interpolation", str(tmp_path / "model"), "--data", "embedded", "--out", str(out)]
    assert run([*asked, "--n", "4", "--pairs", "2"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    with Image.open(out) as drawn:
        assert drawn.width > drawn.height > 50


def test_what_cannot_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RBM(RBMConfig(1, 8, 8, 4)).save_pretrained(tmp_path / "rbm")
    asked = ["show", "interpolation", str(tmp_path / "rbm"), "--data", "embedded", "--out", "x.png"]
    assert run(asked) == 2
    assert "has no way between two pictures" in capsys.readouterr().err
    assert run([*asked, "--pairs", "0"]) == 2
    assert "--pairs must be from 1" in capsys.readouterr().err
