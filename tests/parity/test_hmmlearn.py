"""The HMM beside hmmlearn: the same numbers from the same parameters, also after training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bottega.models.hmm import HMM, Categorical, Gaussian, HMMConfig

hmmlearn = pytest.importorskip("hmmlearn.hmm")

LENGTHS = [40, 1, 25, 60]


def parameters(states: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.dirichlet(np.ones(states)), rng.dirichlet(np.ones(states), states)


def categorical() -> tuple[HMM, object, list[np.ndarray]]:
    rng = np.random.default_rng(1)
    start, transition = parameters(4, rng)
    emission = rng.dirichlet(np.ones(9), 4)
    theirs = hmmlearn.CategoricalHMM(4, n_iter=5, tol=-1e9, init_params="", implementation="log")
    theirs.startprob_, theirs.transmat_, theirs.emissionprob_ = start, transition, emission
    logs = [torch.from_numpy(np.log(x)) for x in (start, transition, emission)]
    ours = HMM(HMMConfig(4, "categorical", 9), logs[0], logs[1], Categorical(logs[2]))
    return ours, theirs, [rng.integers(0, 9, n) for n in LENGTHS]


def gaussian() -> tuple[HMM, object, list[np.ndarray]]:
    rng = np.random.default_rng(2)
    start, transition = parameters(3, rng)
    mean, variance = rng.normal(size=(3, 2)), rng.uniform(0.5, 2, (3, 2))
    theirs = hmmlearn.GaussianHMM(
        3,
        "diag",
        n_iter=5,
        tol=-1e9,
        init_params="",
        implementation="log",
        covars_prior=0,
        covars_weight=0,
        min_covar=0,
    )
    theirs.startprob_, theirs.transmat_, theirs.means_, theirs.covars_ = start, transition, mean, variance
    logs = [torch.from_numpy(np.log(x)) for x in (start, transition)]
    emissions = Gaussian(torch.from_numpy(mean), torch.from_numpy(variance))
    return (
        HMM(HMMConfig(3, "gaussian", 2), logs[0], logs[1], emissions),
        theirs,
        [rng.normal(size=(n, 2)) for n in LENGTHS],
    )


@pytest.mark.parametrize("build", [categorical, gaussian])
def test_score_path_and_posterior(build) -> None:
    ours, theirs, sequences = build()
    for sequence in sequences:
        column = sequence[:, None] if sequence.ndim == 1 else sequence
        assert ours.score(sequence) == pytest.approx(theirs.score(column), rel=1e-9)
        nats, path = theirs.decode(column)
        found, best = ours.decode(sequence)
        assert best == pytest.approx(nats, rel=1e-9)
        assert np.mean(np.array(found) == path) > 0.9  # of two equally likely paths each may take another
        assert np.allclose(ours.posterior(sequence), theirs.predict_proba(column), atol=1e-9)


@pytest.mark.parametrize("build", [categorical, gaussian])
def test_baum_welch_takes_the_same_steps(build) -> None:
    ours, theirs, sequences = build()
    history = ours.fit(sequences, iterations=5, tolerance=-1e9)
    joined = np.concatenate([s[:, None] if s.ndim == 1 else s for s in sequences])
    theirs.fit(joined, LENGTHS)
    assert history == pytest.approx(list(theirs.monitor_.history), rel=1e-6)
    assert np.allclose(ours.start.exp(), theirs.startprob_, atol=1e-6)
    assert np.allclose(ours.transition.exp(), theirs.transmat_, atol=1e-6)
    if isinstance(ours.emissions, Categorical):
        assert np.allclose(ours.emissions.table.exp(), theirs.emissionprob_, atol=1e-6)
    else:
        assert np.allclose(ours.emissions.mean, theirs.means_, atol=1e-6)
        variances = np.stack([np.diag(one) for one in theirs.covars_])
        assert np.allclose(ours.emissions.variance, variances, atol=1e-6)
