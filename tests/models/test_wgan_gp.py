"""WGAN-GP: the penalty on the critic's gradient, and updates in the order of algorithm 1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.load import load
from bottega.models.wgan_gp import WGANGP, WGANGPConfig, gradient_penalty
from bottega.nn.loss import Loss
from bottega.training.config import TrainingConfig
from bottega.training.context import Context
from bottega.training.distributed import World
from bottega.training.precision import DTYPES, Weights

TINY = WGANGPConfig(1, 8, 8, latent=4, maps=4, n_critic=2)


def test_the_penalty_of_a_linear_critic_is_known() -> None:
    torch.manual_seed(0)
    critic = nn.Linear(3, 1, bias=False)
    real, fake = torch.randn(5, 3), torch.randn(5, 3)
    slope = critic.weight.norm()
    found = gradient_penalty(critic, real, fake)
    assert torch.allclose(found, ((slope - 1) ** 2).expand(5), atol=1e-6)
    # Its gradient reaches the weights, through the gradient: d/dw (|w| - 1)² = 2 (|w| - 1) w / |w|.
    [gradient] = torch.autograd.grad(found.mean(), critic.weight)
    assert torch.allclose(gradient, 2 * (slope - 1) * critic.weight / slope, atol=1e-6)


def test_the_penalty_is_taken_between_the_two_sets() -> None:
    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach())
            return (x**2).sum(1)

    seen: list[Tensor] = []
    torch.manual_seed(0)
    gradient_penalty(Square(), torch.zeros(200, 2), torch.ones(200, 2))
    [places] = seen
    assert torch.equal(places[:, 0], places[:, 1])  # on the line between, ε alike in all directions
    assert float(places.min()) >= 0 and float(places.max()) <= 1
    assert 0.4 < float(places.mean()) < 0.6 and float(places.std()) > 0.2


def test_n_critic_updates_then_one_of_the_generator() -> None:
    asked: list[tuple[str, int]] = []

    class Recorder:
        def optimize(self, name: str, closure: Any, batch: Mapping[str, Tensor]) -> Loss:
            asked.append((name, len(batch["real"])))
            return closure(batch)

    WGANGP(TINY).step({"pictures": torch.rand(6, 1, 8, 8)}, Recorder())
    assert asked == [("critic", 3), ("critic", 3), ("generator", 3)]
    with pytest.raises(InputError, match="n_critic = 2"):
        WGANGP(TINY).step({"pictures": torch.rand(5, 1, 8, 8)}, Recorder())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_critic_learns_to_tell_apart_and_stays_smooth(precision: str) -> None:
    torch.manual_seed(0)
    model = WGANGP(TINY).train()
    dtype = DTYPES[precision]
    config = TrainingConfig(steps=99, batch_size=32, optimizer="adamw", learning_rate=1e-2, clip=0.0,
                            beta1=0.0, beta2=0.9, weight_decay=0.0, warmup_steps=0)  # fmt: skip
    context = Context(model, Weights(model, dtype), config, World(), dtype)
    assert model.critic.judge.weight.dtype == dtype
    real = (torch.rand(32, 1, 8, 8) < 0.1).float()
    losses = [context.optimize("critic", model.widen, {"real": 2 * real - 1}) for _ in range(40)]
    first, last = (float(loss.metrics["distance"] / loss.count) for loss in (losses[0], losses[-1]))
    assert last > first + 1
    # Between the sets the slope comes to be about 1, which neither D's scale nor its start has.
    assert float(losses[-1].metrics["penalty"] / losses[-1].count) < 10 * 0.5**2
    context.optimize("generator", model.shorten, {"real": real})
    context.close()
    assert model.sample(3).shape == (3, 1, 8, 8)
    assert model.criticise(real).shape == (32,)


def test_a_folder_gives_the_model_back(tmp_path: Path) -> None:
    model = WGANGP(TINY)
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, WGANGP) and again.config == TINY
    assert torch.equal(again.sample(4, seed=2), model.sample(4, seed=2))


def test_bad_input() -> None:
    for field in ("latent", "maps", "n_critic"):
        with pytest.raises(InputError, match=f"{field} must be 1 or more, not 0"):
            WGANGPConfig(**{field: 0})
    with pytest.raises(InputError, match="penalty must be 0 or more, not nan"):
        WGANGPConfig(penalty=float("nan"))
    with pytest.raises(InputError, match="1 × 8 × 8"):
        WGANGP(TINY).criticise(torch.rand(2, 1, 9, 8))
