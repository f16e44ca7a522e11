"""The restricted Boltzmann machine: its update, its chains, what it learns, what it refuses."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bottega.errors import InputError
from bottega.models.abilities import (
    EncodesPictures,
    ReconstructsPictures,
    SamplesPictures,
    ScoresPictures,
)
from bottega.models.load import load
from bottega.models.rbm import RBM, RBMConfig
from bottega.models.rbm_likelihood import enumerated

TINY = RBMConfig(height=3, width=2, n_hidden=4)
GAUSSIAN = RBMConfig(height=3, width=2, n_hidden=4, visible="gaussian", sigma=0.25)


def drawn(config: RBMConfig, seed: int = 0, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> RBM:
    """A machine whose weights and biases are far from zero."""
    torch.manual_seed(seed)
    rbm = RBM(config).to(dtype)
    for parameter in rbm.parameters():
        parameter.data = scale * torch.randn_like(parameter)
    return rbm


def states(units: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=units)), dtype=torch.float64)


def pictures(v: torch.Tensor) -> torch.Tensor:
    return v.reshape(-1, 1, 3, 2)


def energy(rbm: RBM, v: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """E of each v with each h, by the definition."""
    W, b, c = rbm.weight, rbm.visible_bias, rbm.hidden_bias
    if rbm.config.visible == "bernoulli":
        return -(v @ b)[:, None] - h @ c - v @ W @ h.T
    square = ((v - b) ** 2).sum(1) / (2 * rbm.config.sigma**2)
    return square[:, None] - h @ c - (v / rbm.config.sigma) @ W @ h.T


@pytest.mark.parametrize("config", [TINY, GAUSSIAN])
def test_free_energy_and_conditionals_are_those_of_the_energy(config: RBMConfig) -> None:
    rbm = drawn(config)
    v, h = torch.rand(5, 6, dtype=torch.float64).round(), states(4)
    joint = -energy(rbm, v, h)
    torch.testing.assert_close(rbm.free_energy(v), -joint.logsumexp(1))
    torch.testing.assert_close(torch.sigmoid(rbm.hidden_input(v)), joint.softmax(1) @ h)
    up = rbm.visible_input(h)
    if config.visible == "bernoulli":
        every = states(6)
        torch.testing.assert_close(torch.sigmoid(up), (-energy(rbm, every, h)).softmax(0).T @ every)
    else:  # the mean of a Gaussian is where its energy is least
        shifted = [energy(rbm, up + torch.full_like(up, step), h).diagonal() for step in (-1e-3, 0, 1e-3)]
        assert (shifted[1] < shifted[0]).all() and (shifted[1] < shifted[2]).all()
        torch.testing.assert_close(shifted[0], shifted[2])


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("persistent", [False, True])
def test_the_gradient_is_the_update_of_contrastive_divergence(visible: Any, persistent: bool) -> None:
    config = RBMConfig(height=3, width=2, n_hidden=4, visible=visible, k=3, persistent=persistent, n_chains=5)
    rbm = drawn(config, scale=0.3)
    shown = pictures(torch.rand(8, 6, dtype=torch.float64).round())
    torch.manual_seed(1)
    before = rbm.chains.clone() if persistent else shown.flatten(1)
    v_k = rbm.gibbs(before, 3)
    torch.manual_seed(1)
    loss = rbm.loss({"pictures": shown})
    loss.mean.backward()
    v, sigma = shown.flatten(1), config.sigma if visible == "gaussian" else 1.0

    def means(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        h = torch.sigmoid(rbm.hidden_input(x))
        return (x / sigma).T @ h / len(x), x.mean(0) / sigma**2, h.mean(0)

    data, model = means(v), means(v_k)
    for parameter, of_data, of_model in zip(
        (rbm.weight, rbm.visible_bias, rbm.hidden_bias), data, model, strict=True
    ):
        assert parameter.grad is not None
        torch.testing.assert_close(-parameter.grad, of_data - of_model, rtol=1e-9, atol=1e-12)
    if persistent:
        torch.testing.assert_close(rbm.chains, v_k)


def test_the_gibbs_chain_has_the_distribution_of_the_model() -> None:
    rbm = drawn(RBMConfig(height=2, width=2, n_hidden=3), scale=0.7)
    every = states(4)
    p = (-rbm.free_energy(every)).softmax(0).detach().numpy()
    v = rbm.gibbs(rbm.noise(40_000, torch.Generator().manual_seed(0)), 30, torch.Generator().manual_seed(1))
    found = np.bincount((v @ torch.tensor([8.0, 4.0, 2.0, 1.0]).double()).long(), minlength=16) / len(v)
    assert np.abs(found - p).max() < 4 * np.sqrt(0.25 / len(v))


def test_the_sparsity_penalty_pushes_activities_to_the_target() -> None:
    config = RBMConfig(height=3, width=2, n_hidden=4, sparsity_target=0.2, sparsity_cost=2.0)
    plain, sparse = drawn(TINY), drawn(config)
    batch = {"pictures": pictures(torch.rand(8, 6, dtype=torch.float64).round())}
    slopes = []
    for rbm in (plain, sparse):
        torch.manual_seed(3)
        rbm.loss(batch).mean.backward()
        assert rbm.hidden_bias.grad is not None
        slopes.append(rbm.hidden_bias.grad)
    p = torch.sigmoid(plain.hidden_input(batch["pictures"].flatten(1))).detach()
    q = p.mean(0)
    expected = 2.0 * (q - 0.2) / (q * (1 - q)) * (p * (1 - p)).mean(0)
    torch.testing.assert_close(slopes[1] - slopes[0], expected)


def test_chains_stay_where_they_are_while_it_is_not_training() -> None:
    rbm = drawn(RBMConfig(height=3, width=2, n_hidden=4, persistent=True, n_chains=5))
    before = rbm.chains.clone()
    batch = {"pictures": pictures(torch.rand(8, 6, dtype=torch.float64).round())}
    rbm.eval().loss(batch)
    assert torch.equal(rbm.chains, before)
    rbm.train().loss(batch)
    assert not torch.equal(rbm.chains, before)


@pytest.mark.parametrize("persistent", [False, True])
def test_it_learns_bars(persistent: bool) -> None:
    """Of 16 pictures of 2 × 2 only the two with one bar are shown: they get nearly all of the probability."""
    torch.manual_seed(0)
    config = RBMConfig(height=2, width=2, n_hidden=6, k=5, persistent=persistent, n_chains=50)
    rbm, shown = RBM(config), torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]]).reshape(2, 1, 2, 2)
    optimizer = torch.optim.SGD(rbm.parameters(), lr=0.1, momentum=0.5)
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 400)
        loss = rbm.loss({"pictures": shown.repeat(25, 1, 1, 1)})
        optimizer.zero_grad()
        loss.mean.backward()
        optimizer.step()
    found = rbm.score(shown)
    assert found.kind == "exact" and found.error == 0 and not found.density
    assert found.nats.min() > np.log(0.25), np.exp(found.nats)


def test_biases_begin_at_the_means_of_the_data() -> None:
    mean = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]).reshape(1, 3, 2)
    rbm = RBM(RBMConfig(height=3, width=2, n_hidden=4, persistent=True))
    rbm.begin_from(mean)
    torch.testing.assert_close(rbm.visible_bias.sigmoid(), mean.flatten().clamp(0.005, 0.995))
    assert rbm.chains.unique().tolist() == [0, 1]
    gaussian = RBM(GAUSSIAN)
    gaussian.begin_from(mean)
    torch.testing.assert_close(gaussian.visible_bias.data, mean.flatten())


def test_the_pseudo_likelihood_is_that_of_the_conditionals() -> None:
    rbm = drawn(TINY)
    every = states(6)
    p = (-rbm.free_energy(every)).softmax(0).detach()
    place = torch.tensor([32.0, 16, 8, 4, 2, 1]).double()
    expected = []
    for v in every:
        others = [(1 - 2 * v[i]) * torch.eye(6, dtype=torch.float64)[i] + v for i in range(6)]
        mine = p[int(v @ place)]
        expected.append(sum(float((mine / (mine + p[int(o @ place)])).log()) for o in others))
    found = rbm.pseudo_likelihood(pictures(every))
    assert found.kind == "pseudo"
    np.testing.assert_allclose(found.nats, expected, atol=1e-9)


@pytest.mark.parametrize("config", [TINY, GAUSSIAN])
def test_what_it_can_do(config: RBMConfig) -> None:
    rbm = drawn(config, scale=0.3, dtype=torch.float32)
    for ability in (SamplesPictures, ScoresPictures, ReconstructsPictures, EncodesPictures):
        assert isinstance(rbm, ability)
    assert rbm.picture_shape == (1, 3, 2)
    sampled = rbm.sample(5, seed=1)
    assert sampled.shape == (5, 1, 3, 2) and 0 <= float(sampled.min()) <= float(sampled.max()) <= 1
    assert torch.equal(sampled, rbm.sample(5, seed=1)) and not torch.equal(sampled, rbm.sample(5, seed=2))
    assert rbm.features().shape == (4, 1, 3, 2)
    assert torch.equal(rbm.features()[1].flatten(), rbm.weight[:, 1])
    shown = torch.rand(3, 1, 3, 2).round()
    assert rbm.encode(shown).shape == (3, 4)
    torch.testing.assert_close(rbm.reconstruct(shown), rbm.decode(rbm.encode(shown)))
    chain = rbm.chain(shown, steps=7, every=3, seed=4)
    assert chain.shape == (3, 3, 1, 3, 2) and torch.equal(chain[0], shown)
    torch.testing.assert_close(chain[1], rbm.chain(shown, steps=3, every=3, seed=4)[1])
    assert rbm.chain(2, steps=2, every=1).shape == (3, 2, 1, 3, 2)


def test_a_folder_brings_it_back_with_its_chains(tmp_path: Path) -> None:
    rbm = drawn(RBMConfig(height=3, width=2, n_hidden=4, persistent=True, n_chains=5), dtype=torch.float32)
    rbm.loss({"pictures": torch.rand(8, 1, 3, 2).round()})
    rbm.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, RBM) and again.config == rbm.config and not again.training
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in rbm.state_dict().items())
    assert float(again.chains.abs().sum()) > 0


def test_it_works_in_bf16() -> None:
    full = drawn(RBMConfig(height=8, width=8, n_hidden=30, k=2), scale=0.3, dtype=torch.float32)
    half = drawn(full.config, scale=0.3, dtype=torch.float32)
    for parameter in half.parameters():
        parameter.data = parameter.data.bfloat16()
    shown = torch.rand(20, 1, 8, 8).round()
    loss = half.loss({"pictures": shown})
    assert loss.total.dtype == torch.float32
    loss.mean.backward()
    torch.testing.assert_close(
        half.free_energy(half.pixels_of(shown)), full.free_energy(full.pixels_of(shown)), rtol=0.02, atol=0.2
    )
    assert half.sample(2).dtype == torch.float32


BAD: list[dict[str, Any]] = [
    {"n_hidden": 0},
    {"height": 0},
    {"k": 0},
    {"n_chains": 0},
    {"sigma": 0.0},
    {"sigma": float("nan")},
    {"sparsity_target": 1.0},
    {"sparsity_cost": -1.0},
]


@pytest.mark.parametrize("fields", BAD)
def test_senseless_shapes(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(fields))):
        RBMConfig(**fields)


def test_bad_pictures() -> None:
    rbm = drawn(TINY, dtype=torch.float32)
    good = torch.rand(3, 1, 3, 2).round()
    spoilt = good.clone()
    spoilt[1, 0, 0, 0] = float("nan")
    for bad in (spoilt, good * 255, good - 0.5, torch.rand(3, 1, 2, 3), good[:0]):
        for use in (rbm.encode, rbm.score, rbm.pseudo_likelihood, rbm.reconstruct, rbm.chain):
            with pytest.raises(InputError):
                use(bad)
        with pytest.raises(InputError):
            rbm.loss({"pictures": bad})
    for use in (rbm.score, rbm.pseudo_likelihood):
        with pytest.raises(InputError, match="zeros and ones"):
            use(good / 2 + 0.25)
    with pytest.raises(InputError, match="Bernoulli"):
        drawn(GAUSSIAN, dtype=torch.float32).pseudo_likelihood(good)
    with pytest.raises(InputError, match="4"):
        rbm.decode(torch.rand(3, 5))
    with pytest.raises(InputError, match="step"):
        rbm.chain(good, steps=0)


def test_gaussian_pictures_are_scored_by_their_density() -> None:
    rbm = drawn(GAUSSIAN, scale=0.3)
    found = rbm.score(torch.rand(4, 1, 3, 2))
    assert found.density and found.kind == "exact"
    # Over a grid of the pixels' space the density adds up to one: two pixels are enough to go through.
    small = drawn(RBMConfig(height=2, width=1, n_hidden=3, visible="gaussian", sigma=0.5), scale=0.5)
    line = torch.linspace(-6, 6, 401, dtype=torch.float64)
    points = torch.cartesian_prod(line, line)
    log_p = -small.free_energy(points) - enumerated(small).value
    assert float(log_p.detach().exp().sum() * (line[1] - line[0]) ** 2) == pytest.approx(1, abs=1e-6)
