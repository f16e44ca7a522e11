"""FID and KID: in closed form where that is known, and as other formulas have them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from bottega.data.pictures import Pictures
from bottega.errors import InputError
from bottega.evaluation.frechet import (
    evaluate_samples,
    fid,
    frechet_distance,
    kid,
    kid_and_error,
    unbiased_mmd,
)
from bottega.models.cnn import CNN, CNNConfig
from bottega.models.dcgan import DCGAN, DCGANConfig

RNG = np.random.default_rng(0)


def covariance(width: int, rank: int | None = None) -> np.ndarray:
    root = RNG.normal(size=(width, rank or 2 * width))
    return root @ root.T / root.shape[1]


def test_the_distance_of_two_gaussians_in_closed_form() -> None:
    # Diagonal ones commute, so that it is Σ (m₁ - m₂)² + (s₁ - s₂)².
    mean1, mean2, s1, s2 = (np.array(v) for v in ([0.0, 1.0], [2.0, -1.0], [1.0, 3.0], [2.0, 0.5]))
    found = frechet_distance(mean1, np.diag(s1**2), mean2, np.diag(s2**2))
    assert found == pytest.approx(((mean1 - mean2) ** 2 + (s1 - s2) ** 2).sum())


def test_it_is_the_formula_with_a_matrix_root() -> None:
    for _ in range(5):
        one, other, mean1, mean2 = covariance(6), covariance(6), RNG.normal(size=6), RNG.normal(size=6)
        root = sqrtm(one @ other)
        expected = ((mean1 - mean2) ** 2).sum() + np.trace(one + other - 2 * root.real)
        assert frechet_distance(mean1, one, mean2, other) == pytest.approx(expected, rel=1e-9)


def test_of_samples_of_two_gaussians_it_comes_near_the_truth() -> None:
    one, other = RNG.normal(size=(50_000, 3)), RNG.normal(1.0, 2.0, size=(50_000, 3))
    assert fid(one, other) == pytest.approx(3 * (1 + 1), rel=0.02)
    assert fid(one[:, :1], other[:, :1]) == pytest.approx(2, rel=0.05)  # of width 1 too


def test_of_a_set_with_itself_it_is_0_and_it_is_symmetric() -> None:
    one, other = RNG.normal(size=(40, 8)), RNG.normal(0.5, 1.5, size=(30, 8))
    assert fid(one, one) == pytest.approx(0, abs=1e-6)
    assert fid(one, other) == pytest.approx(fid(other, one), rel=1e-9)
    # Fewer pictures than numbers: the covariances have no full rank, and the root no inverse.
    assert fid(one[:5], one[:5]) == pytest.approx(0, abs=1e-6)
    assert fid(one[:5], other[:6]) == pytest.approx(fid(other[:6], one[:5]), rel=1e-6)


def test_kid_is_0_on_average_between_draws_of_one_law_and_not_of_two() -> None:
    values = [unbiased_mmd(RNG.normal(size=(40, 4)), RNG.normal(size=(40, 4))) for _ in range(300)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    assert min(values) < 0 < max(values)  # unbiased, so it falls on both sides
    shifted = RNG.normal(size=(300, 4)) + 0.5
    value, error = kid_and_error(RNG.normal(size=(300, 4)), shifted)
    assert value > 5 * error > 0


def test_kid_by_hand() -> None:
    x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [3.0]])
    kernel = lambda a, b: (a * b + 1) ** 3  # noqa: E731
    expected = kernel(1, 2) + kernel(0, 3) - 2 * np.mean([kernel(a, b) for a in (1, 2) for b in (0, 3)])
    assert unbiased_mmd(x, y) == pytest.approx(expected)


def test_bad_features() -> None:
    good = RNG.normal(size=(6, 3))
    for bad, message in (
        (good[:1], "2 pictures or more"),
        (good[0], "expected \\(pictures, width\\)"),
        (np.full((6, 3), np.nan), "NaN or infinity"),
        (good[:, :2], "one classifier"),
    ):
        with pytest.raises(InputError, match=message):
            fid(good, bad)
    with pytest.raises(InputError, match="4 pictures or more"):
        kid(good, good[:3])
    with pytest.raises(InputError, match="1 subsets"):
        kid_and_error(good, good, subsets=1)


def pictures(n: int) -> Pictures:
    return Pictures(RNG.integers(0, 256, (n, 1, 8, 8)).astype(np.uint8), np.zeros(n, np.int64))


def test_samples_of_a_model_are_measured() -> None:
    torch.manual_seed(0)
    model = DCGAN(DCGANConfig(1, 8, 8, latent=4, maps=2))
    classifier = CNN(CNNConfig(1, 8, 8, filters=4, n_embd=16)).eval()
    real = pictures(60)
    found = evaluate_samples(model, real, classifier, 40)
    assert found["drawn"] == 40 and found["fid"] > 0 and found["kid_error"] > 0
    assert found == evaluate_samples(model, real, classifier, 40)  # the same seed, the same numbers
    assert evaluate_samples(model, pictures(30), classifier, 40)["drawn"] == 30
    with pytest.raises(InputError, match="the model draws pictures of"):
        evaluate_samples(DCGAN(DCGANConfig(1, 9, 8, maps=2)), pictures(9), classifier, 9)
    with pytest.raises(InputError, match="the classifier sees"):
        evaluate_samples(model, pictures(9), CNN(CNNConfig(1, 9, 9)), 9)
