"""The VAE: its closed forms beside torch's and scikit-learn's, its bounds, what it refuses."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch.distributions import Bernoulli, Normal, kl_divergence

from bottega.errors import InputError
from bottega.models.abilities import (
    EncodesPictures,
    HasFeatures,
    ReconstructsPictures,
    SamplesPictures,
    ScoresPictures,
)
from bottega.models.load import load
from bottega.models.vae import VAE, VAEConfig, kl_to_normal, log_bernoulli, log_normal, reparametrised

TINY = VAEConfig(1, 6, 5, latent=3, hidden=16)
LINEAR = VAEConfig(1, 3, 4, latent=2, n_layer=0, decoder="gaussian")
KINDS = [
    TINY,
    replace(TINY, network="convolutional", hidden=4, channels=3),
    replace(TINY, decoder="gaussian"),
]


def binary(n: int, config: VAEConfig = TINY, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, *config.shape, generator=generator).round()


def test_the_closed_forms_are_those_of_torch() -> None:
    mean, log_variance, x = torch.randn(3, 5, 4).unbind()
    posterior = Normal(mean, (0.5 * log_variance).exp())
    torch.testing.assert_close(
        kl_to_normal(mean, log_variance), kl_divergence(posterior, Normal(0.0, 1.0)).sum(-1)
    )
    torch.testing.assert_close(
        log_normal(x, mean, 0.5 * log_variance), posterior.log_prob(x).sum(-1), atol=1e-4, rtol=1e-5
    )
    logits = 30 * mean
    torch.testing.assert_close(
        log_bernoulli(x.gt(0).float(), logits), Bernoulli(logits=logits).log_prob(x.gt(0).float()).sum(-1)
    )


def test_the_gradient_goes_through_the_draw() -> None:
    """∇ E[z²] = (2μ, 2σ · ∂σ): known in closed form, for E[z²] = μ² + σ²."""
    mean, log_variance = torch.tensor([1.5], requires_grad=True), torch.tensor([-0.7], requires_grad=True)
    noise = torch.randn(400_000, 1, generator=torch.Generator().manual_seed(0))
    reparametrised(mean, log_variance, noise).square().mean().backward()
    assert mean.grad is not None and log_variance.grad is not None
    assert float(mean.grad) == pytest.approx(3.0, abs=0.02)
    assert float(log_variance.grad) == pytest.approx(math.exp(-0.7), abs=0.02)


@pytest.mark.parametrize("config", KINDS)
def test_the_loss_is_reconstruction_and_kl(config: VAEConfig) -> None:
    torch.manual_seed(0)
    model = VAE(replace(config, beta=4.0))
    loss = model.loss({"pictures": binary(7, config)})
    kl = kl_to_normal(*model.posterior(binary(7, config))).sum()
    torch.testing.assert_close(loss.metrics["kl"], kl.detach())
    torch.testing.assert_close(loss.total, loss.metrics["reconstruction"] + 4 * kl)
    assert int(loss.count) == 7
    loss.total.backward()
    assert all(p.grad is not None and float(p.grad.norm()) > 0 for p in model.parameters())


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_learns_in_either_precision(config: VAEConfig, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, pictures = VAE(config).to(dtype), binary(4, config)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        loss = model.loss({"pictures": pictures})
        optimizer.zero_grad()
        loss.mean.backward()
        optimizer.step()
        losses.append(float(loss.mean.detach()))
    assert np.mean(losses[-10:]) < np.mean(losses[:5]) - 2
    assert model.loss({"pictures": pictures}).total.dtype == torch.float32


def test_the_bound_is_below_the_importance_estimate_and_that_grows_with_samples() -> None:
    torch.manual_seed(0)
    model, pictures = VAE(TINY), binary(6)
    with torch.no_grad():
        model.decoder[0].weight.mul_(8)  # codes matter, and the encoder does not know yet
    few, many = model.score(pictures, 10), model.score(pictures, 4000)
    bound = model.elbo(pictures, 4000)
    assert (bound.kind, many.kind, many.density) == ("elbo", "importance", False)
    assert (bound.nats <= many.nats).all()
    assert bound.mean < few.mean < many.mean
    assert many.error < few.error


def test_the_standard_error_is_that_of_repeated_estimates() -> None:
    torch.manual_seed(0)
    model, pictures = VAE(TINY), binary(6)
    means = [model.score(pictures, 300, seed).mean for seed in range(40)]
    assert model.score(pictures, 300).error == pytest.approx(np.std(means), rel=0.4)
    means = [model.elbo(pictures, 300, seed).mean for seed in range(40)]
    assert model.elbo(pictures, 300).error == pytest.approx(np.std(means), rel=0.4)


def linear_gaussian() -> tuple[VAE, torch.Tensor, np.ndarray]:
    """A decoder x = Wz + b + noise, whose log p(x) is that of probabilistic PCA (Tipping & Bishop 1999)."""
    torch.manual_seed(1)
    model = VAE(LINEAR)
    layer = model.decoder[0]
    assert isinstance(layer, torch.nn.Linear)
    with torch.no_grad():
        layer.weight.normal_(0, 0.3)
        layer.bias.uniform_(0.3, 0.7)
    sigma = math.exp(model.log_sigma.item())
    pictures = torch.rand(8, *LINEAR.shape)
    weight = layer.weight.detach().double().numpy()
    covariance = weight @ weight.T + sigma**2 * np.eye(12)
    exact = multivariate_normal(layer.bias.detach().double().numpy(), covariance)
    return model, pictures, exact.logpdf(pictures.flatten(1).double().numpy())


def test_importance_meets_the_exact_marginal_of_a_linear_decoder() -> None:
    model, pictures, exact = linear_gaussian()
    found = model.score(pictures, 50_000)
    assert found.density
    np.testing.assert_allclose(found.nats, exact, atol=0.1)
    assert found.mean == pytest.approx(exact.mean(), abs=5 * found.error + 1e-3)


def test_with_the_true_posterior_every_draw_tells_the_exact_marginal() -> None:
    model, pictures, exact = linear_gaussian()
    decoder, encoder = model.decoder[0], model.encoder[1]
    assert isinstance(decoder, torch.nn.Linear) and isinstance(encoder, torch.nn.Linear)
    with torch.no_grad():
        # Orthogonal columns of one length make the posterior's covariance a multiple of 1.
        weight = torch.linalg.qr(decoder.weight)[0]
        decoder.weight.copy_(weight)
        precision = 1 + math.exp(2)  # 1 + 1/σ²
        encoder.weight.zero_()
        encoder.weight[:2] = weight.T * math.exp(2) / precision
        encoder.bias[:2] = -encoder.weight[:2] @ decoder.bias
        encoder.bias[2:] = -math.log(precision)
        covariance = (weight @ weight.T + math.exp(-2) * torch.eye(12)).double().numpy()
    normal = multivariate_normal(decoder.bias.detach().double().numpy(), covariance)
    exact = normal.logpdf(pictures.flatten(1).double().numpy())
    np.testing.assert_allclose(model.score(pictures, 2).nats, exact, atol=1e-4)
    np.testing.assert_allclose(model.elbo(pictures, 3).nats, exact, atol=1e-4)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pictures = VAE(TINY), binary(5)
    one = model.score(pictures[:1], 37)
    monkeypatch.setattr("bottega.models.vae.ROWS", 10)
    np.testing.assert_allclose(model.score(pictures[:1], 37).nats, one.nats, rtol=1e-4)
    assert model.score(pictures, 3).nats.shape == (5,)


@pytest.mark.parametrize("config", KINDS)
def test_what_it_can_do(config: VAEConfig, tmp_path: Path) -> None:
    model = VAE(config).eval()
    abilities = (EncodesPictures, HasFeatures, ReconstructsPictures, SamplesPictures, ScoresPictures)
    assert all(isinstance(model, ability) for ability in abilities)
    pictures = binary(4, config)
    drawn = model.sample(9, seed=3)
    assert drawn.shape == (9, *config.shape) and 0 <= float(drawn.min()) <= float(drawn.max()) <= 1
    assert torch.equal(drawn, model.sample(9, seed=3)) and not torch.equal(drawn, model.sample(9, seed=4))
    codes = model.encode(pictures)
    assert codes.shape == (4, 3)
    torch.testing.assert_close(model.reconstruct(pictures), model.decode(codes))
    between = model.interpolate(pictures[0], pictures[1], 5)
    torch.testing.assert_close(between[[0, 4]], model.reconstruct(pictures[:2]))
    torch.testing.assert_close(between[2:3], model.decode(codes[:2].mean(0, keepdim=True)))
    assert model.features().shape[0] == config.hidden
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, VAE) and again.config == config
    torch.testing.assert_close(again.sample(3), model.sample(3))


BAD: list[dict[str, Any]] = [
    {"latent": 0},
    {"hidden": 0},
    {"n_layer": -1},
    {"height": 0},
    {"beta": -1.0},
    {"beta": math.nan},
]


@pytest.mark.parametrize("fields", BAD)
def test_senseless_shapes(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(fields))):
        VAEConfig(**fields)


def test_bad_pictures_and_codes() -> None:
    model = VAE(TINY)
    for pictures in (torch.rand(2, 1, 5, 6), torch.full((2, *TINY.shape), torch.nan), torch.rand(0, 1, 6, 5)):
        for ask in (model.encode, model.reconstruct, model.score, model.elbo):
            with pytest.raises(InputError, match=r"the VAE|pixels"):
                ask(pictures)
    with pytest.raises(InputError, match="n × 3, not 2 × 4"):
        model.decode(torch.zeros(2, 4))
    with pytest.raises(InputError, match="samples"):
        model.score(binary(1), 1)


def test_bad_folders(tmp_path: Path) -> None:
    VAE(TINY).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    for change in ({"latent": 0}, {"latent": 4}, {"network": "round"}, {"n_layer": 10**6}):
        (tmp_path / "config.json").write_text(json.dumps(settings | change))
        with pytest.raises(InputError, match=str(tmp_path)):
            load(tmp_path)
