"""log Z: by enumeration against the definition, by AIS against enumeration."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from bottega.errors import InputError
from bottega.models.rbm import RBM, RBMConfig
from bottega.models.rbm_likelihood import annealed, enumerated, log_partition, salakhutdinov_murray


def drawn(config: RBMConfig, scale: float, seed: int = 0) -> RBM:
    torch.manual_seed(seed)
    rbm = RBM(config)
    for parameter in rbm.parameters():
        parameter.data = scale * torch.randn_like(parameter)
    return rbm


@pytest.mark.parametrize(("height", "n_hidden"), [(3, 5), (4, 3)])
def test_enumeration_is_the_sum_over_all_joint_states(height: int, n_hidden: int) -> None:
    rbm = drawn(RBMConfig(height=height, width=2, n_hidden=n_hidden), 1.0).double()
    terms = []
    for v in itertools.product([0.0, 1.0], repeat=2 * height):
        for h in itertools.product([0.0, 1.0], repeat=n_hidden):
            x, y = torch.tensor(v).double(), torch.tensor(h).double()
            terms.append(float(x @ rbm.visible_bias + y @ rbm.hidden_bias + x @ rbm.weight @ y))
    found = enumerated(rbm)
    assert found.kind == "exact" and found.error == 0
    assert found.value == pytest.approx(np.logaddexp.reduce(terms), abs=1e-9)


def test_enumeration_goes_over_either_layer() -> None:
    """14 hidden units, or as many pixels of the same machine turned upside down."""
    down = drawn(RBMConfig(height=5, width=4, n_hidden=14), 0.5)
    up = RBM(RBMConfig(height=7, width=2, n_hidden=20))
    up.weight.data, up.visible_bias.data, up.hidden_bias.data = (
        down.weight.data.T.contiguous(),
        down.hidden_bias.data,
        down.visible_bias.data,
    )
    assert enumerated(down).value == pytest.approx(enumerated(up).value, abs=1e-9)
    p = down.score(torch.ones(1, 1, 5, 4)).nats
    assert p[0] == pytest.approx(-float(down.free_energy(torch.ones(1, 20))) - enumerated(up).value, abs=1e-4)


def test_gaussian_pixels_are_integrated() -> None:
    rbm = drawn(RBMConfig(height=2, width=1, n_hidden=3, visible="gaussian", sigma=0.4), 0.7).double()
    line = torch.linspace(-8, 8, 1001, dtype=torch.float64)
    free = rbm.free_energy(torch.cartesian_prod(line, line))
    expected = float((-free).logsumexp(0)) + 2 * np.log(float(line[1] - line[0]))
    assert enumerated(rbm).value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "fields", [{"visible": "bernoulli"}, {"visible": "gaussian", "sigma": 0.3}, {"visible": "gaussian"}]
)
def test_ais_is_within_its_error_bars(fields: dict[str, Any]) -> None:
    rbm = drawn(RBMConfig(height=5, width=5, n_hidden=10, **fields), 0.4)
    rbm.base.copy_(0.5 * rbm.visible_bias.data)
    exact, betas = enumerated(rbm).value, np.linspace(0, 1, 301).tolist()
    found = [annealed(rbm, betas, n_chains=100, seed=seed) for seed in range(5)]
    assert all(one.kind == "ais" and 0 < one.error < 0.2 for one in found)
    off = np.array([(one.value - exact) / one.error for one in found])
    assert np.abs(off).max() < 3 and off.std() > 0.1, off


def test_the_schedule_is_theirs() -> None:
    betas = salakhutdinov_murray()
    assert len(betas) == 14_501 and betas[0] == 0 and betas[500] == 0.5 and betas[-1] == 1
    assert betas[4500] == pytest.approx(0.9) and (np.diff(betas) > 0).all()


def test_without_weights_nothing_is_to_be_found() -> None:
    rbm = RBM(RBMConfig(n_hidden=30))
    rbm.weight.data.zero_()
    rbm.begin_from(torch.rand(1, 28, 28))
    found = annealed(rbm, [0, 1], n_chains=10)
    expected = 30 * np.log(2) + float(torch.nn.functional.softplus(rbm.visible_bias.double()).sum())
    assert found.value == pytest.approx(expected, abs=1e-3) and found.error < 1e-6


def test_small_machines_are_summed_and_large_ones_annealed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert log_partition(RBM(RBMConfig(n_hidden=8))).kind == "exact"
    large = RBM(RBMConfig(height=5, width=5, n_hidden=21))
    monkeypatch.setattr("bottega.models.rbm_likelihood.salakhutdinov_murray", lambda: np.linspace(0, 1, 50))
    assert log_partition(large).kind == "ais"
    scored = large.score(torch.ones(2, 1, 5, 5))
    assert scored.kind == "ais" and scored.error > 0
    with pytest.raises(InputError, match="2\\^21"):
        enumerated(large)


def test_bad_paths() -> None:
    rbm = RBM(RBMConfig(height=2, width=2, n_hidden=2))
    for betas in ([0.0], [0.0, 0.5], [0.1, 1.0], [0.0, 0.6, 0.5, 1.0], [0.0, float("nan"), 1.0]):
        with pytest.raises(InputError, match="betas"):
            annealed(rbm, betas)
    with pytest.raises(InputError, match="n_chains"):
        annealed(rbm, [0, 1], n_chains=1)
