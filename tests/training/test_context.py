"""One update: which parameters are free, how gradients add up, and what precision keeps."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from bottega.errors import InputError
from bottega.nn.loss import Loss
from bottega.training.config import TrainingConfig
from bottega.training.context import WHOLE, Context, loss_of
from bottega.training.distributed import World
from bottega.training.loop import train
from bottega.training.precision import DTYPES, Weights


def context_of(model: nn.Module, precision: str = "fp32", **values: object) -> Context:
    defaults = {"steps": 10, "batch_size": 8, "warmup_steps": 0, "schedule": "constant", "weight_decay": 0.0}
    config = TrainingConfig(**(defaults | values))  # type: ignore[arg-type]
    dtype = DTYPES[precision]
    return Context(model, Weights(model, dtype, config.ema), config, World(), dtype)


class Gan(nn.Module):
    """Goodfellow et al. (2014) on points: the generator must move its mass to where the data are."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
        self.discriminator = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
        self.seen: list[tuple[bool, bool]] = []

    def free(self) -> tuple[bool, bool]:
        return self.generator[0].weight.requires_grad, self.discriminator[0].weight.requires_grad

    def step(self, batch, ctx):
        real = torch.ones(len(batch["x"]), 1)
        bce = nn.functional.binary_cross_entropy_with_logits

        def judge(b):
            self.seen.append(
                (self.generator[0].weight.requires_grad, self.discriminator[0].weight.requires_grad)
            )
            fake = self.discriminator(self.generator(torch.randn(len(b["x"]), 2)).detach())
            ones = torch.ones_like(fake)
            total = bce(self.discriminator(b["x"]), ones, reduction="sum") + bce(
                fake, 0 * ones, reduction="sum"
            )
            return Loss(total, torch.tensor(len(fake)))

        def fool(b):
            self.seen.append(
                (self.generator[0].weight.requires_grad, self.discriminator[0].weight.requires_grad)
            )
            verdict = self.discriminator(self.generator(torch.randn(len(b["x"]), 2)))
            return Loss(bce(verdict, torch.ones_like(verdict), reduction="sum"), torch.tensor(len(verdict)))

        d = ctx.optimize("discriminator", judge, batch)
        g = ctx.optimize("generator", fool, batch)
        assert len(real) == int(d.count)
        return Loss(d.total, d.count, {"generator": g.total})


class Points:
    def __init__(self) -> None:
        self.position = 0

    def next_batch(self):
        self.position += 1
        generator = torch.Generator().manual_seed(self.position)
        return {"x": torch.randn(32, 2, generator=generator) * 0.1 + torch.tensor([3.0, -2.0])}

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]


def test_a_gan_learns_in_ten_lines(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Gan()
    config = TrainingConfig(
        steps=400,
        batch_size=32,
        learning_rate=0.01,
        beta1=0.5,
        precision="fp32",
        schedule="constant",
        clip=0.0,
    )
    metrics: list[dict[str, float]] = []
    train(model, Points(), tmp_path, config, on_event=lambda e: metrics.append(getattr(e, "metrics", {})))
    made = model.generator(torch.randn(500, 2)).mean(0)
    assert torch.allclose(made, torch.tensor([3.0, -2.0]), atol=0.8), made
    # Only the named part is free while its closure runs.
    assert set(model.seen) == {(False, True), (True, False)}
    assert model.seen[0] == (False, True)
    assert all("generator" in values for values in metrics if values)


def test_only_the_named_part_moves() -> None:
    model = Gan()
    context = context_of(model)
    before = copy.deepcopy(model.state_dict())
    batch = Points().next_batch()

    def fool(b):
        verdict = model.discriminator(model.generator(b["x"]))
        return Loss(-verdict.sum(), torch.tensor(len(verdict)))

    context.optimize("generator", fool, batch)
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved and all(name.startswith("generator.") for name in moved)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_overlapping_parts_keep_their_own_gradients() -> None:
    torch.manual_seed(1)
    model = nn.Module()
    model.a, model.b = nn.Linear(3, 1, bias=False), nn.Linear(3, 1, bias=False)
    x = {"x": torch.ones(8, 3)}

    def both(batch):
        return Loss(model.a(batch["x"]).sum() + model.b(batch["x"]).sum(), torch.tensor(8))

    context = context_of(model, optimizer="adamw", learning_rate=0.1)
    context.part(WHOLE)
    context.part("a")
    before = model.a.weight.clone(), model.b.weight.clone()
    context.optimize(WHOLE, both, x)
    # Adam's first update is the sign of the gradient, times the rate.
    assert torch.allclose(before[0] - model.a.weight, torch.full((1, 3), 0.1), atol=1e-4)
    assert torch.allclose(before[1] - model.b.weight, torch.full((1, 3), 0.1), atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("rows_at_a_time", [1, 3, 8])
def test_the_gradient_is_that_of_all_totals_over_all_counts(
    tiny, rows, precision: str, rows_at_a_time: int
) -> None:
    batch = rows().next_batch()  # its rows have unequal counts
    model = tiny().eval()
    reference = copy.deepcopy(model).to(DTYPES[precision])
    reference.loss(batch).mean.backward()
    context = context_of(model, precision, micro_batch_size=rows_at_a_time, clip=0.0)
    loss = context.optimize(WHOLE, lambda b: loss_of(model, b), batch)
    tolerance = {"fp32": 1e-6, "bf16": 2e-2}[precision]
    part = context.parts[WHOLE]
    for name, parameter in reference.named_parameters():
        slot = part.slots[context.weights.parameters[name]]
        assert parameter.grad is not None
        error = (slot - parameter.grad.float()).norm() / parameter.grad.float().norm()
        assert error < tolerance, (name, error)
    assert torch.allclose(loss.mean.float(), reference.loss(batch).mean.float(), rtol=tolerance)
    assert int(loss.count) == int((batch["targets"] != -100).sum())


def test_clipping_bounds_the_norm_and_leaves_small_gradients(tiny, rows) -> None:
    norms = {}
    for clip in (0.0, 0.01, 1e6):
        model = tiny().eval()
        context = context_of(model, clip=clip)
        context.optimize(WHOLE, lambda b, model=model: loss_of(model, b), rows().next_batch())
        norms[clip] = float(context.parts[WHOLE].gradient.norm())
        told = float(context.gradient_norms[WHOLE])
    assert norms[0.01] == pytest.approx(0.01, rel=1e-3)
    assert norms[0.0] == pytest.approx(norms[1e6]) == pytest.approx(told, rel=1e-5)


def test_bf16_masters_gather_what_bf16_alone_would_lose() -> None:
    model = nn.Linear(4, 1, bias=False)
    nn.init.ones_(model.weight)
    context = context_of(model, "bf16", optimizer="adamw", learning_rate=1e-4)
    assert model.weight.dtype == torch.bfloat16
    x = {"x": torch.ones(8, 4, dtype=torch.bfloat16)}
    for _ in range(100):  # each update is 1/40 of the distance between neighbours in bf16 below 1
        context.optimize(WHOLE, lambda b: Loss(model(b["x"]).float().sum(), torch.tensor(8)), x)
    assert model.weight[0, 0].item() == pytest.approx(0.99, abs=0.003)
    context.close()
    assert model.weight.dtype == torch.float32
    assert model.weight[0, 0].item() == pytest.approx(0.99, abs=1e-4)


def test_frozen_parameters_stay_frozen(tiny, rows) -> None:
    model = tiny()
    model.hidden.weight.requires_grad_(False)
    before = model.hidden.weight.clone()
    context = context_of(model)
    context.optimize(WHOLE, lambda b: loss_of(model, b), rows().next_batch())
    assert torch.equal(model.hidden.weight, before)
    assert not model.hidden.weight.requires_grad
    with pytest.raises(InputError, match="no trainable parameters under 'nowhere'"):
        context.optimize("nowhere", lambda b: loss_of(model, b), rows().next_batch())


def test_the_moving_average_follows_and_is_lent() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    context = context_of(model, optimizer="adamw", learning_rate=0.1, ema=0.5)
    values, average = [], 0.0
    for _ in range(5):
        context.optimize(
            WHOLE, lambda b: Loss(-model(b["x"]).sum(), torch.tensor(8)), {"x": torch.ones(8, 1)}
        )
        values.append(model.weight.item())
        average = 0.5 * average + 0.5 * values[-1]
    with context.weights.evaluated():
        assert model.weight.item() == pytest.approx(average)
    assert model.weight.item() == values[-1]
    context.close()
    assert model.weight.item() == pytest.approx(average)
