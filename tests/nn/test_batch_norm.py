"""Batch norm is torch's own, in fp32 throughout."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bottega.nn.batch_norm import BatchNorm


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("sides", [(), (4, 4)])
def test_it_is_torchs_own(sides: tuple[int, ...], training: bool) -> None:
    torch.manual_seed(0)
    theirs = (nn.BatchNorm2d(3) if sides else nn.BatchNorm1d(3)).train(training)
    ours = BatchNorm(3).train(training)
    assert [*ours.state_dict()] == ["weight", "bias", "running_mean", "running_var"]
    for _ in range(3):
        x = 2 * torch.randn(5, 3, *sides) + 1
        assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_mean, theirs.running_mean)
    assert torch.equal(ours.running_var, theirs.running_var)


def test_a_single_row_is_measured_by_the_running_statistics() -> None:
    norm, x = BatchNorm(3), torch.randn(1, 3)
    taught, asked = norm.train()(x), norm.eval()(x)
    assert torch.equal(taught, asked) and not norm.running_mean.any()
