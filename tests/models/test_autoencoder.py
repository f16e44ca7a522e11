"""Autoencoders: the linear one beside PCA, what noise in training brings, what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bottega.errors import InputError
from bottega.models.abilities import EncodesPictures, HasFeatures, ReconstructsPictures, SamplesPictures
from bottega.models.autoencoder import Autoencoder, AutoencoderConfig
from bottega.models.load import load

TINY = AutoencoderConfig(1, 6, 5, latent=3, hidden=16)
CONVOLUTIONAL = replace(TINY, network="convolutional", hidden=4, channels=3)
LINEAR = replace(TINY, n_layer=0, error="squared")
KINDS = [TINY, CONVOLUTIONAL, LINEAR, replace(TINY, noise="masking")]


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_learns_in_either_precision(config: AutoencoderConfig, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, pictures = Autoencoder(config).to(dtype), torch.rand(4, *config.shape).round()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(80):
        loss = model.loss({"pictures": pictures})
        optimizer.zero_grad()
        loss.mean.backward()
        optimizer.step()
        losses.append(loss.mean.item())
    assert losses[-1] < 0.8 * losses[0]
    assert loss.total.dtype == torch.float32 and int(loss.count) == 4


def test_the_losses_are_those_of_the_formulas() -> None:
    torch.manual_seed(0)
    pictures = torch.rand(5, *TINY.shape)
    for config in (TINY, LINEAR):
        model = Autoencoder(config).eval()
        loss, again = model.loss({"pictures": pictures}), model(pictures)
        if config.error == "squared":
            torch.testing.assert_close(loss.total, 0.5 * (again - pictures).square().sum())
        else:
            again = again.sigmoid()
            nats = pictures * again.log() + (1 - pictures) * (1 - again).log()
            torch.testing.assert_close(loss.total, -nats.sum())
        torch.testing.assert_close(loss.metrics["squared"], (again - pictures).square().sum())


def test_noise_is_drawn_in_training_only() -> None:
    pictures = torch.full((200, *TINY.shape), 0.5)
    for noise in ("masking", "gaussian"):
        model = Autoencoder(replace(TINY, noise=noise, level=0.2))
        losses = {float(model.loss({"pictures": pictures}).total.detach()) for _ in range(2)}
        assert len(losses) == 2
        model.eval()
        losses = {float(model.loss({"pictures": pictures}).total.detach()) for _ in range(2)}
        assert len(losses) == 1


def test_the_noise_is_of_the_level_that_was_asked_for() -> None:
    torch.manual_seed(0)
    pictures = torch.full((500, *TINY.shape), 0.5)
    masked = Autoencoder(replace(TINY, noise="masking", level=0.2)).spoilt(pictures)
    assert set(masked.unique().tolist()) == {0.0, 0.5}
    assert float((masked == 0).float().mean()) == pytest.approx(0.2, abs=0.02)
    shaken = Autoencoder(replace(TINY, noise="gaussian", level=0.1)).spoilt(pictures)
    assert float(shaken.std()) == pytest.approx(0.1, abs=0.01)
    assert torch.equal(Autoencoder(TINY).spoilt(pictures), pictures)


@pytest.mark.parametrize("config", KINDS)
def test_what_it_can_do(config: AutoencoderConfig, tmp_path: Path) -> None:
    model = Autoencoder(config).eval()
    assert all(isinstance(model, ability) for ability in (EncodesPictures, HasFeatures, ReconstructsPictures))
    assert not isinstance(model, SamplesPictures)
    pictures = torch.rand(4, *config.shape)
    codes = model.encode(pictures)
    assert codes.shape == (4, 3)
    torch.testing.assert_close(model.reconstruct(pictures), model.decode(codes))
    between = model.interpolate(pictures[0], pictures[1], 3)
    torch.testing.assert_close(between[[0, 2]], model.reconstruct(pictures[:2]))
    torch.testing.assert_close(between[1:2], model.decode(codes[:2].mean(0, keepdim=True)))
    assert 0 <= float(model.decode(100 * codes).min()) <= float(model.decode(100 * codes).max()) <= 1
    expected = (4, 3, 3, 3) if config == CONVOLUTIONAL else (3 if config == LINEAR else 16, 1, 6, 5)
    assert model.features().shape == expected
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, Autoencoder) and again.config == config
    torch.testing.assert_close(again.reconstruct(pictures), model.reconstruct(pictures))


BAD: list[dict[str, Any]] = [
    {"latent": 0},
    {"hidden": 0},
    {"n_layer": -1},
    {"width": 0},
    {"level": -0.1, "noise": "gaussian"},
    {"level": math.nan, "noise": "gaussian"},
    {"level": 1.0, "noise": "masking"},
]


@pytest.mark.parametrize("fields", BAD)
def test_senseless_shapes(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(fields))):
        AutoencoderConfig(**fields)


def test_bad_pictures_codes_and_folders(tmp_path: Path) -> None:
    model = Autoencoder(TINY)
    for pictures in (torch.rand(2, 1, 5, 6), torch.full((2, *TINY.shape), torch.nan), torch.rand(0, 1, 6, 5)):
        for ask in (model.encode, model.reconstruct):
            with pytest.raises(InputError, match=r"the autoencoder|pixels"):
                ask(pictures)
    with pytest.raises(InputError, match="n × 3, not 2 × 4"):
        model.decode(torch.zeros(2, 4))
    model.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    for change in ({"latent": 0}, {"latent": 4}, {"error": "cubic"}):
        (tmp_path / "config.json").write_text(json.dumps(settings | change))
        with pytest.raises(InputError, match=str(tmp_path)):
            load(tmp_path)
