"""DCGAN's networks: for pictures of any size, initialised and normalised as the paper says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bottega.errors import InputError
from bottega.models.dcgan import DCGAN, DCGANConfig, halved
from bottega.models.load import load
from bottega.nn.batch_norm import BatchNorm
from bottega.training.config import TrainingConfig
from bottega.training.context import Context
from bottega.training.distributed import World
from bottega.training.precision import DTYPES, Weights


def context_of(model: nn.Module, precision: str, **values: Any) -> Context:
    config = TrainingConfig(steps=9, batch_size=8, optimizer="adamw", learning_rate=1e-3, clip=0.0, **values)
    return Context(model, Weights(model, DTYPES[precision]), config, World(), DTYPES[precision])


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (5, 5), (13, 21), (32, 9)])
def test_pictures_of_any_size_come_out_and_go_in(size: tuple[int, int]) -> None:
    model = DCGAN(DCGANConfig(3, *size, latent=4, maps=2))
    assert model.sample(3).shape == (3, 3, *size)
    assert model.realness(torch.rand(3, 3, *size)).shape == (3,)
    assert model.features().shape == (2, 3, 5, 5)


def test_the_papers_own_size_has_four_layers_from_4_to_64() -> None:
    assert halved(64, 64) == [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]
    model = DCGAN(DCGANConfig(3, 64, 64, maps=8))
    assert model.generator.start == (64, 4, 4)
    assert [layer.out_channels for layer in model.generator.layers] == [32, 16, 8, 3]
    assert [layer.out_channels for layer in model.discriminator.layers] == [8, 16, 32, 64]


def test_norms_stand_where_the_paper_puts_them() -> None:
    model = DCGAN(DCGANConfig(1, 28, 28, maps=4))
    assert all(isinstance(norm, BatchNorm) for norm in model.generator.norms)  # none behind the last layer
    assert len(model.generator.norms) == len(model.generator.layers)
    kinds = [type(norm) for norm in model.discriminator.norms]
    assert kinds == [nn.Identity, BatchNorm, BatchNorm]


def test_weights_begin_at_a_deviation_of_2_hundredths() -> None:
    torch.manual_seed(0)
    model = DCGAN(DCGANConfig(1, 28, 28, maps=16))
    for name, tensor in model.named_parameters():
        if tensor.dim() > 1:
            assert float(tensor.detach().std()) == pytest.approx(0.02, rel=0.1), name
        elif name.endswith("bias"):
            assert not tensor.any(), name
        else:
            assert float(tensor.detach().mean()) == pytest.approx(1.0, abs=0.02), name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_steps_in_both_precisions_with_statistics_in_fp32(precision: str) -> None:
    torch.manual_seed(0)
    model = DCGAN(DCGANConfig(1, 8, 8, latent=4, maps=4)).train()
    context = context_of(model, precision)
    before = model.generator.norms[0].running_mean.clone()
    for _ in range(3):
        loss = model.step({"pictures": torch.rand(8, 1, 8, 8)}, context)
    assert loss.total.isfinite()
    for buffer in (buffer for name, buffer in model.named_buffers() if "running" in name):
        assert buffer.dtype == torch.float32 and buffer.isfinite().all()
    assert not torch.equal(model.generator.norms[0].running_mean, before)
    context.close()
    made = model.sample(6, seed=1)
    assert made.dtype == torch.float32 and 0 <= float(made.min()) <= float(made.max()) <= 1
    # In use each picture is its own: what else is drawn beside it changes nothing.
    model.eval()
    z = torch.randn(6, 4)
    assert torch.allclose(model.generator(z)[:2], model.generator(z[:2]), atol=1e-6)


def test_a_folder_gives_the_model_and_its_statistics_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = DCGAN(DCGANConfig(1, 9, 7, latent=4, maps=4)).train()
    model.generator(torch.randn(8, 4))  # moves the running statistics
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, DCGAN) and again.config == model.config
    assert torch.equal(again.sample(4, seed=2), model.sample(4, seed=2))


def test_bad_input() -> None:
    for field in ("latent", "maps", "k", "channels"):
        with pytest.raises(InputError, match=f"{field} must be 1 or more, not 0"):
            DCGANConfig(**{field: 0})
    with pytest.raises(InputError, match="4×3 leave nothing to convolve"):
        DCGANConfig(1, 4, 3)
    model = DCGAN(DCGANConfig(1, 8, 8, maps=2))
    with pytest.raises(InputError, match="1 × 8 × 8"):
        model.realness(torch.rand(2, 3, 8, 8))
    with pytest.raises(InputError, match="from 0 to 1"):
        model.step({"pictures": torch.full((4, 1, 8, 8), float("nan"))}, context_of(model, "fp32"))
