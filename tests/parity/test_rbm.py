"""The same machine in scikit-learn: free energies, hidden units, and its pseudo-likelihood on average."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.neural_network import BernoulliRBM

from bottega.models.rbm import RBM, RBMConfig


def both() -> tuple[RBM, BernoulliRBM, np.ndarray]:
    """One machine of 12 pixels and 7 hidden units twice, and pictures."""
    generator = np.random.default_rng(0)
    v = generator.integers(0, 2, (40, 12)).astype(np.float64)
    theirs = BernoulliRBM(7, random_state=0, n_iter=0).fit(v)
    theirs.components_ = generator.normal(size=(7, 12))
    theirs.intercept_hidden_, theirs.intercept_visible_ = generator.normal(size=7), generator.normal(size=12)
    ours = RBM(RBMConfig(height=4, width=3, n_hidden=7)).double()
    ours.weight.data = torch.from_numpy(theirs.components_.T.copy())
    ours.hidden_bias.data = torch.from_numpy(theirs.intercept_hidden_)
    ours.visible_bias.data = torch.from_numpy(theirs.intercept_visible_)
    return ours, theirs, v


def test_free_energies_and_hidden_units_agree() -> None:
    ours, theirs, v = both()
    pixels = torch.from_numpy(v)
    free = ours.free_energy(pixels).detach().numpy()
    np.testing.assert_allclose(free, theirs._free_energy(v), atol=1e-9)
    found = ours.encode(pixels.reshape(-1, 1, 4, 3)).numpy()
    np.testing.assert_allclose(found, theirs.transform(v), atol=1e-9)


def test_theirs_is_our_pseudo_likelihood_on_average() -> None:
    """Theirs takes one pixel of a picture at random and multiplies by their number; ours takes them all."""
    ours, theirs, v = both()
    n = 400
    draws = theirs.score_samples(np.repeat(v[:1], n * 12, axis=0)).reshape(-1)
    mine = ours.pseudo_likelihood(torch.from_numpy(v[:1]).reshape(1, 1, 4, 3))
    assert abs(draws.mean() - mine.mean) < 4 * draws.std() / np.sqrt(len(draws))
    assert draws.std() > 1
