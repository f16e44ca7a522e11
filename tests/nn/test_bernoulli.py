"""Zeros and ones by their logits."""

from __future__ import annotations

import pytest
import torch

from bottega.nn.bernoulli import bernoulli


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_each_probability_is_met(dtype: torch.dtype) -> None:
    probabilities = torch.tensor([0.001, 0.1, 0.5, 0.83, 0.999])
    n = 200_001  # no multiple of four
    logits = probabilities.logit().to(dtype).expand(n, -1)
    drawn = bernoulli(logits, torch.Generator().manual_seed(1))
    assert drawn.dtype == dtype and drawn.unique().tolist() == [0, 1]
    meant = logits[0].double().sigmoid()
    deviation = (meant * (1 - meant) / n).sqrt()
    assert ((drawn.double().mean(0) - meant).abs() < 4 * deviation).all()


def test_neighbours_are_independent() -> None:
    drawn = bernoulli(torch.zeros(400_000), torch.Generator().manual_seed(2)) - 0.5
    for distance in range(1, 9):  # four entries share a random number
        assert float((drawn[:-distance] * drawn[distance:]).mean().abs()) < 4 * 0.25 / 400_000**0.5


def test_certainties_and_seeds() -> None:
    assert bernoulli(torch.full((100_000,), -40.0)).sum() == 0
    assert bernoulli(torch.full((100_000,), 40.0)).sum() == 100_000
    one, two = (bernoulli(torch.zeros(50), torch.Generator().manual_seed(seed)) for seed in (3, 3))
    assert torch.equal(one, two)
    assert bernoulli(torch.zeros(0, 4)).shape == (0, 4)
