from __future__ import annotations

import pytest
import torch

from bottega.nn.dropout import dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_share_that_falls_and_the_mean_that_stays(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.ones(200, 501, dtype=dtype, requires_grad=True)
    y = dropout(x, 0.3)
    assert float((y == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(y.detach().float().mean()) == pytest.approx(1.0, abs=0.02)
    assert len(y.unique()) == 2
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_masks_follow_the_seed_and_are_not_alike() -> None:
    x = torch.ones(64, 64)
    torch.manual_seed(1)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    torch.manual_seed(1)
    assert torch.equal(dropout(x, 0.5), first)
    together = ((first == 0) & (second == 0)).float().mean()
    assert float(together) == pytest.approx(0.25, abs=0.03)


def test_nothing_falls_out_of_training() -> None:
    x = torch.randn(5, 5)
    assert dropout(x, 0.9, training=False) is x
    assert dropout(x, 0.0) is x
