"""The Gaussian mixture: a density of all pixels, its samples, its folders, and what degenerates."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor

from bottega.errors import InputError
from bottega.models.abilities import SamplesPictures, ScoresPictures
from bottega.models.load import load
from bottega.models.mixture import Mixture, MixtureConfig

SMALL = MixtureConfig(height=4, width=5, n_components=3, n_dimensions=6)


def pictures(n: int = 300, seed: int = 0) -> Tensor:
    """Three kinds of pictures of 4×5: each a bright row at its own height, with noise; a border is black."""
    rng = np.random.default_rng(seed)
    drawn = rng.uniform(0, 0.3, (n, 1, 4, 5))
    for number, kind in enumerate(rng.integers(0, 3, n)):
        drawn[number, 0, kind, :] += 0.6
    drawn[..., 4] = 0
    return torch.tensor(drawn, dtype=torch.float32)


@pytest.fixture(scope="module")
def model() -> Mixture:
    return Mixture.fit(pictures(), SMALL)


def test_the_kinds_are_found(model: Mixture) -> None:
    means = model.features()
    assert means.shape == (3, 1, 4, 5)
    assert sorted(means[:, 0, :3, :4].mean(-1).argmax(1).tolist()) == [0, 1, 2]
    assert model.model.weights_ == pytest.approx(np.full(3, 1 / 3), abs=0.08)


def test_it_is_a_density_of_all_pixels(model: Mixture) -> None:
    """Put together from one Gaussian of 20 pixels for each component, of what the docstring's lines say."""
    shown = pictures(20, seed=1)
    across = np.eye(20) - model.directions.T @ model.directions
    densities = [
        weight
        * multivariate_normal(
            model.mean + mean @ model.directions,
            model.directions.T @ covariance @ model.directions + model.noise * across,
        ).pdf(shown.flatten(1).double().numpy())
        for weight, mean, covariance in zip(
            model.model.weights_, model.model.means_, model.model.covariances_, strict=True
        )
    ]
    score = model.score(shown)
    assert score.nats == pytest.approx(np.log(np.sum(densities, 0)), rel=1e-9)
    assert (score.kind, score.error, score.density) == ("exact", 0.0, True)
    assert model.score(torch.rand(20, 1, 4, 5)).mean < score.mean - 50


def test_samples_are_of_its_kinds(model: Mixture) -> None:
    drawn = model.sample(200, seed=3)
    assert drawn.shape == (200, 1, 4, 5) and drawn.min() >= 0 and drawn.max() <= 1
    assert torch.equal(drawn, model.sample(200, seed=3))
    assert not torch.equal(drawn, model.sample(200, seed=4))
    rows = drawn[:, 0, :, :4].mean(-1)
    assert torch.bincount(rows.argmax(1), minlength=4)[:3].min() > 40
    assert drawn[..., 4].max() < 0.01
    assert len(set(rows[:6].argmax(1).tolist())) > 1  # not one kind after the other
    assert isinstance(model, SamplesPictures) and isinstance(model, ScoresPictures)


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_a_folder_gives_the_same_mixture(tmp_path, covariance) -> None:
    model = Mixture.fit(pictures(), MixtureConfig(1, 4, 5, 3, 6, covariance))
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, Mixture) and again.picture_shape == (1, 4, 5)
    assert np.array_equal(again.score(pictures(9)).nats, model.score(pictures(9)).nats)
    assert torch.equal(again.sample(9, 5), model.sample(9, 5))


def test_ctrl_c_keeps_what_was_fitted() -> None:
    def stop(done: int, _most: int) -> None:
        raise KeyboardInterrupt

    config = MixtureConfig(1, 4, 5, 3, 6, tolerance=0)
    model = Mixture.fit(pictures(), config, stop)
    assert model.iterations == 5 and not model.finished
    assert Mixture.fit(pictures(), config).finished


def test_degenerate_mixtures_are_refused() -> None:
    for few in (pictures(1), pictures(2)):
        with pytest.raises(InputError, match="expected two pictures, and one for each Gaussian"):
            Mixture.fit(few, SMALL)
    with pytest.raises(InputError, match="all 40 pictures are the same"):
        Mixture.fit(torch.full((40, 1, 4, 5), 0.5), SMALL)


def test_as_many_gaussians_as_pictures_stay_finite() -> None:
    model = Mixture.fit(pictures(3), SMALL)
    assert np.isfinite(model.score(pictures(5, 1)).nats).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.full((5, 1, 4, 5), torch.nan), "from 0 to 1"),
        (torch.full((5, 1, 4, 5), 255.0), "from 0 to 1"),
        (torch.zeros(5, 1, 5, 4), "takes pictures of n × 1 × 4 × 5"),
        (torch.zeros(5, 3, 4, 5), "takes pictures of n × 1 × 4 × 5"),
        (torch.zeros(0, 1, 4, 5), "no pictures"),
    ],
)
def test_what_is_no_picture_is_refused(model: Mixture, wrong: Tensor, message: str) -> None:
    for use in (model.score, lambda given: Mixture.fit(given, SMALL)):
        with pytest.raises(InputError, match=message):
            use(wrong)


@pytest.mark.parametrize(
    "wrong", [{"n_components": 0}, {"n_dimensions": 0}, {"reg_covar": 0}, {"reg_covar": float("nan")}]
)
def test_senseless_sizes_are_refused(wrong) -> None:
    with pytest.raises(InputError, match="expected"):
        MixtureConfig(**wrong)
    with pytest.raises(InputError, match="expected at least 1"):
        Mixture.fit(pictures(), SMALL).sample(0)


def test_damaged_folders_are_refused(tmp_path, model: Mixture) -> None:
    model.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    for change, message in [({"n_components": 4}, "damaged"), ({"model_type": "bottega-lda"}, "bottega-lda")]:
        (tmp_path / "config.json").write_text(json.dumps(settings | change))
        with pytest.raises(InputError, match=message):
            Mixture.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(settings))
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(InputError, match="damaged"):
        Mixture.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        Mixture.from_pretrained(tmp_path)
