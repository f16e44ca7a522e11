"""The game of Goodfellow et al. (2014): algorithm 1 as it is written, and networks that play it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.gan import GAN, GANConfig, algorithm_1, fool, tell_apart
from bottega.models.load import load
from bottega.models.point_gan import PointGAN, PointGANConfig
from bottega.nn.loss import Loss
from bottega.training.config import TrainingConfig
from bottega.training.context import Context
from bottega.training.distributed import World
from bottega.training.precision import DTYPES, Weights

TINY = GANConfig(1, 4, 5, latent=3, hidden=8, n_layer=1)


def context_of(model: nn.Module, precision: str = "fp32", **values: Any) -> Context:
    defaults = {"steps": 10, "batch_size": 8, "warmup_steps": 0, "schedule": "constant", "weight_decay": 0.0}
    config = TrainingConfig(**(defaults | {"optimizer": "adamw", "clip": 0.0} | values))
    dtype = DTYPES[precision]
    return Context(model, Weights(model, dtype, config.ema), config, World(), dtype)


class Recorder:
    """What is asked for, in which order; nothing is updated."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Tensor]] = []

    def optimize(self, name: str, closure: Any, batch: Mapping[str, Tensor]) -> Loss:
        self.asked.append((name, batch["real"]))
        return closure(batch)


@pytest.mark.parametrize("k", [1, 3])
def test_k_updates_of_d_on_as_many_minibatches_then_one_of_g(k: int) -> None:
    model, recorder = PointGAN(PointGANConfig(2, hidden=4, k=k)), Recorder()
    points = torch.randn(6 * k, 2)
    loss = model.step({"points": points}, recorder)
    names = [name for name, _ in recorder.asked]
    assert names == ["discriminator"] * k + ["generator"]
    assert torch.equal(torch.cat([real for _, real in recorder.asked[:k]]), points)  # each row once, in order
    assert int(loss.count) == 6  # nats a sample of the last minibatch


class Fixed(nn.Module):
    """Players whose logits are known: D gives what it is shown, G what it is given."""

    def __init__(self, z: Tensor) -> None:
        super().__init__()
        self.z = z
        self.generator, self.discriminator = nn.Identity(), nn.Flatten(0)

    def noise(self, n: int) -> Tensor:
        assert n == len(self.z)
        return self.z


def test_the_losses_are_those_of_the_paper() -> None:
    of_real, of_fake = torch.tensor([[2.0], [-1.0], [0.5]]), torch.tensor([[-3.0], [0.25], [1.0]])
    model, batch = Fixed(of_fake), {"real": of_real}
    d_real, d_fake = of_real.sigmoid(), of_fake.sigmoid()
    value = d_real.log().sum() + (1 - d_fake).log().sum()  # m · V(D, G)
    told = tell_apart(model, batch)
    assert torch.allclose(told.total, -value)
    assert told.metrics["real"] == pytest.approx(float(d_real.sum()))
    assert told.metrics["fake"] == pytest.approx(float(d_fake.sum()))
    assert float(told.metrics["accuracy"]) == (2 + 1) / 2  # of 3 real ones 2, of 3 made ones 1
    assert torch.allclose(fool(model, True, batch).total, (1 - d_fake).log().sum())
    assert torch.allclose(fool(model, False, batch).total, -d_fake.log().sum())


def test_where_g_has_won_the_loss_of_d_is_log_4() -> None:
    loss = tell_apart(Fixed(torch.zeros(5, 1)), {"real": torch.zeros(5, 1)})
    assert float(loss.mean) == pytest.approx(math.log(4))


def test_logits_far_out_give_finite_losses_and_gradients() -> None:
    z = torch.tensor([[-200.0], [200.0]], requires_grad=True)
    for saturating in (True, False):
        loss = fool(Fixed(z), saturating, {"real": z.detach()})
        [gradient] = torch.autograd.grad(loss.total, z)
        assert loss.total.isfinite() and gradient.isfinite().all()
        # Where D is sure that a sample is made, only the non-saturating loss still moves it (section 3).
        assert abs(float(gradient[0])) == pytest.approx(0.0 if saturating else 1.0, abs=1e-6)


@pytest.mark.parametrize("saturating", [True, False])
def test_each_player_moves_alone_and_downhill(saturating: bool) -> None:
    torch.manual_seed(0)
    model = PointGAN(PointGANConfig(1, latent=2, hidden=16, saturating=saturating))
    context = context_of(model, learning_rate=3e-3)
    points = {"points": torch.randn(64, 1) + 3}
    values = []
    for _ in range(30):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        loss = model.step(points, context)
        values.append((float(loss.mean), float(loss.metrics["generator"] / loss.count)))
        assert all(not torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(math.isfinite(d) and math.isfinite(g) for d, g in values)
    assert float(model.sample(500).mean()) > 0.3  # on its way from 0 to the data at 3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("rows", [None, 4])
def test_a_gan_of_pictures_steps_in_both_precisions(precision: str, rows: int | None) -> None:
    torch.manual_seed(0)
    model = GAN(TINY).train()
    context = context_of(model, precision, micro_batch_size=rows)
    for _ in range(3):
        loss = model.step({"pictures": torch.rand(8, 1, 4, 5), "labels": torch.zeros(8)}, context)
    assert loss.total.isfinite() and 0 <= float(loss.metrics["accuracy"] / loss.count) <= 1
    context.close()
    made = model.sample(7, seed=1)
    assert made.shape == (7, 1, 4, 5) and made.dtype == torch.float32
    assert float(made.min()) >= 0 and float(made.max()) <= 1
    assert model.training  # sampling leaves the mode as it was


def test_samples_are_keyed_by_the_seed_and_dropout_is_off() -> None:
    torch.manual_seed(0)
    model = GAN(TINY).train()
    assert torch.equal(model.sample(600, seed=3), model.sample(600, seed=3))
    assert not torch.equal(model.sample(5, seed=3), model.sample(5, seed=4))
    pictures = torch.rand(9, 1, 4, 5)
    assert torch.equal(model.realness(pictures), model.realness(pictures))
    assert ((model.realness(pictures) > 0) & (model.realness(pictures) < 1)).all()


@pytest.mark.parametrize("model", [GAN(TINY), PointGAN(PointGANConfig(3, hidden=8, k=2, saturating=True))])
def test_a_folder_gives_the_model_back(tmp_path: Path, model: Any) -> None:
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert type(again) is type(model) and again.config == model.config
    assert torch.equal(again.sample(4, seed=2), model.sample(4, seed=2))


@pytest.mark.parametrize("field", ["latent", "hidden", "n_layer", "k", "height"])
def test_a_senseless_shape_is_refused_by_name(field: str) -> None:
    with pytest.raises(InputError, match=f"{field} must be 1 or more, not 0"):
        GANConfig(**{field: 0})
    with pytest.raises(InputError, match="dropout"):
        GANConfig(dropout=1.0)
    with pytest.raises(InputError, match="latent must be 1 or more, not -2"):
        PointGANConfig(latent=-2)


def test_wrong_batches_are_refused() -> None:
    model, recorder = GAN(TINY), Recorder()
    with pytest.raises(InputError, match="1 × 4 × 5"):
        model.step({"pictures": torch.rand(2, 1, 5, 4)}, recorder)
    with pytest.raises(InputError, match="from 0 to 1"):
        model.step({"pictures": torch.full((2, 1, 4, 5), float("nan"))}, recorder)
    with pytest.raises(InputError, match=r"\(rows, 2\)"):
        PointGAN(PointGANConfig(2)).step({"points": torch.rand(4, 3)}, recorder)
    with pytest.raises(InputError, match="k = 3"):
        algorithm_1(Fixed(torch.zeros(4, 1)), torch.zeros(4, 1), recorder, 3, False)
    with pytest.raises(InputError, match="0 samples asked for"):
        model.sample(0)
