"""A lecture's worked example of attention by hand, and torch's own attention on random numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bottega.nn.attention import attention, attention_weights

KEYS = torch.tensor([[1, 2], [2, 5], [0, 1]]).float()
VALUES = torch.tensor([[5, 2, 1, 4], [0, 1, 0, 1], [8, 4, 2, 1]]).float()
QUERIES = torch.tensor([[1, 1], [0, 1], [1, 0], [2, 2], [1, 2]]).float()
MASK = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 1], [0, 0, 1]]).bool()

# As printed, but for two misprints in the third column: 1.01 in row 1 without the mask, 1.11 in row 2 with.
PLAIN = [
    [0.38, 1.09, 0.08, 1.18],
    [0.93, 1.26, 0.20, 1.31],
    [2.55, 1.70, 0.56, 1.85],
    [0.02, 1.00, 0.00, 1.01],
    [0.04, 1.01, 0.00, 1.02],
]
MASKED = [
    [5.00, 2.00, 1.00, 4.00],
    [0.54, 1.11, 0.11, 1.31],
    [2.55, 1.70, 0.56, 1.85],
    [0.00, 1.00, 0.00, 1.00],
    [8.00, 4.00, 2.00, 1.00],
]


@pytest.mark.parametrize(("mask", "printed"), [(None, PLAIN), (MASK, MASKED)])
def test_the_example_comes_out_as_printed(mask: torch.Tensor | None, printed: list[list[float]]) -> None:
    assert (attention(QUERIES, KEYS, VALUES, mask) - torch.tensor(printed)).abs().max() < 0.03


def test_the_third_column_cannot_be_what_is_printed_twice() -> None:
    """Values are 5, 0, 8 in the first column and 1, 0, 2 in the third, which is at most a quarter of it."""
    assert (VALUES[:, 2] <= VALUES[:, 0] / 4).all()
    for mask, printed, row in ((None, PLAIN, 0), (MASK, MASKED, 1)):
        result = attention(QUERIES, KEYS, VALUES, mask)[row]
        assert result[2] <= result[0] / 4
        assert abs(printed[row][0] - result[0]) < 0.03  # so what is printed there cannot have 1 beside it


def test_one_query_by_hand() -> None:
    """Query 3 is (1, 0): scores 1, 2, 0 over √2."""
    scores = torch.tensor([1.0, 2.0, 0.0]) / 2**0.5
    share = scores.exp() / scores.exp().sum()
    assert torch.allclose(attention_weights(QUERIES, KEYS)[2], share)
    assert torch.allclose(attention(QUERIES, KEYS, VALUES)[2], (share[:, None] * VALUES).sum(0))


@pytest.mark.parametrize("keys", [7, 1500])  # written out, and by torch's blocked kernel
@pytest.mark.parametrize("masked", [False, True])
def test_it_is_torchs_attention(keys: int, masked: bool) -> None:
    torch.manual_seed(keys)
    q, k, v = torch.randn(2, 3, 5, 8), torch.randn(2, 3, keys, 8), torch.randn(2, 3, keys, 6)
    mask = torch.rand(2, 1, 5, keys) < 0.5 if masked else None
    if mask is not None:
        mask[..., 0] = True  # every query sees a key
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert torch.allclose(attention(q, k, v, mask), expected, atol=1e-6)
    weights = attention_weights(q, k, mask)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 3, 5))
    assert torch.allclose(weights @ v, expected, atol=1e-6)
    if mask is not None:
        assert (weights[~mask.expand_as(weights)] == 0).all()
