"""Our mixture beside scikit-learn's, on the same digits: same fit, same densities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from bottega.models.mixture import Mixture, MixtureConfig


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return (load_digits().images / 16).astype(np.float32)


def test_on_all_directions_it_is_scikit_learns_mixture_of_the_pixels(digits: np.ndarray) -> None:
    """A rotation changes neither distances nor determinants, so both take the same way to the same place."""
    config = MixtureConfig(1, 8, 8, n_components=5, n_dimensions=64, reg_covar=0.01)
    ours = Mixture.fit(torch.from_numpy(digits[:1000, None]), config, seed=1)
    rows = digits.reshape(-1, 64).astype(np.float64)
    theirs = GaussianMixture(5, reg_covar=0.01, random_state=1).fit(rows[:1000])
    assert ours.iterations >= theirs.n_iter_ > 5  # over more than one report
    held = torch.from_numpy(digits[1000:, None])
    assert ours.score(held).nats == pytest.approx(theirs.score_samples(rows[1000:]), rel=1e-6)


def test_one_gaussian_of_no_own_shape_is_probabilistic_pca(digits: np.ndarray) -> None:
    """Tipping and Bishop's model, whose density scikit-learn's PCA gives; its n − 1 aside."""
    rows = digits.reshape(-1, 64).astype(np.float64)
    config = MixtureConfig(1, 8, 8, n_components=1, n_dimensions=12, reg_covar=1e-9)
    ours = Mixture.fit(torch.from_numpy(digits[:, None]), config)
    theirs = PCA(12, svd_solver="full").fit(rows)
    assert ours.score(torch.from_numpy(digits[:, None])).nats == pytest.approx(
        theirs.score_samples(rows), abs=0.05
    )
