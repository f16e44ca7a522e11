from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bottega.nn import loss
from bottega.nn.loss import IGNORE, cross_entropy_of_head


@pytest.fixture(params=[False, True], ids=["one chunk", "many chunks"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        monkeypatch.setattr(loss, "OUTER_CHUNK", 11 * 17)
        monkeypatch.setattr(loss, "INNER_CHUNK", 1)
        monkeypatch.setattr(loss, "ROWS", 3)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_torchs_cross_entropy_with_its_gradients(dtype: torch.dtype, smoothing: float) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(50, 8).to(dtype).requires_grad_()
    weight = torch.randn(17, 8).to(dtype).requires_grad_()
    targets = torch.randint(17, (50,))
    targets[::7] = IGNORE
    ours = cross_entropy_of_head(hidden, weight, targets, smoothing)
    wide_hidden, wide_weight = (x.detach().float().requires_grad_() for x in (hidden, weight))
    logits = wide_hidden @ wide_weight.T
    theirs = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    assert ours.count == (targets != IGNORE).sum()
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 8e-2}
    torch.testing.assert_close(
        ours.total, theirs, **(close if dtype == torch.float32 else {"rtol": 5e-3, "atol": 0})
    )
    (3 * ours.total).backward()  # whatever scales the total scales the gradient
    (3 * theirs).backward()
    torch.testing.assert_close(hidden.grad.float(), wide_hidden.grad, **close)
    torch.testing.assert_close(weight.grad.float(), wide_weight.grad, **close)


def test_a_certain_target_keeps_its_small_gradient_in_bf16() -> None:
    """With p = 1 - e^-12, p rounds to 1 in bf16; the gradient must not round to 0 with it."""
    hidden = torch.tensor([[1.0, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    weight = torch.tensor([[12.0, 0.0], [0.0, 1.0]], dtype=torch.bfloat16)
    cross_entropy_of_head(hidden, weight, torch.tensor([0])).total.backward()
    assert hidden.grad is not None
    assert hidden.grad[0, 0].item() == pytest.approx(-12 * 6.14e-6, rel=0.01)


def test_nothing_scored_is_zero_of_zero() -> None:
    hidden = torch.randn(4, 8, requires_grad=True)
    result = cross_entropy_of_head(hidden, torch.randn(5, 8), torch.full((4,), IGNORE))
    result.total.backward()
    assert result.total == 0 and result.count == 0
    assert hidden.grad is not None and not hidden.grad.any()
