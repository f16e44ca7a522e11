"""The VAE's presets: they train on the embedded digits, draw as they go, and resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from bottega.models.load import load
from bottega.models.vae import VAE
from bottega.recipes.presets import find
from bottega.recipes.vae import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_it_trains_on_the_embedded_digits(name: str, tmp_path: Path) -> None:
    preset = find(name)
    shape = replace(preset.shape, hidden=16)
    training = replace(preset.training, steps=20, validate_every=20)
    line = preset.run(shape, ("embedded",), tmp_path / "run", training, None)
    assert "20 steps" in line and "held-out kl" in line and "nats a picture" in line
    model = load(tmp_path / "run")
    assert isinstance(model, VAE) and model.picture_shape == (1, 8, 8)
    assert model.config.latent == preset.shape.latent and model.config.decoder == preset.shape.decoder
    with Image.open(tmp_path / "run" / "samples" / "step-000020.png") as drawn:
        assert min(drawn.size) >= 64


def test_a_binary_decoder_is_given_binary_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, bool] = {}
    plain = VAE.loss

    def watched(self: VAE, batch: dict[str, torch.Tensor]):  # type: ignore[no-untyped-def]
        seen[self.config.decoder] = bool(((batch["pictures"] == 0) | (batch["pictures"] == 1)).all())
        return plain(self, batch)

    monkeypatch.setattr(VAE, "loss", watched)
    for name in ("vae", "vae-gaussian"):
        preset = find(name)
        training = replace(preset.training, steps=1)
        preset.run(replace(preset.shape, hidden=8), ("embedded",), tmp_path / name, training, None)
    assert seen == {"bernoulli": True, "gaussian": False}
