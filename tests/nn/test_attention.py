from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bottega.nn.attention import WRITTEN_OUT, causal_attention, causal_mask
from bottega.nn.cache import ContiguousCache


def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, band: int | None) -> torch.Tensor:
    """Equation 1 of Vaswani et al. (2017), position by position."""
    groups, dim = q.shape[1] // k.shape[1], q.shape[-1]
    y = torch.empty_like(q)
    for t in range(q.shape[2]):
        first = 0 if band is None else max(0, t - band + 1)
        for head in range(q.shape[1]):
            keys, values = k[:, head // groups, first : t + 1], v[:, head // groups, first : t + 1]
            weights = (q[:, head, t, None] @ keys.transpose(1, 2) / dim**0.5).softmax(-1)
            y[:, head, t] = (weights @ values)[:, 0]
    return y


@pytest.mark.parametrize("time", [1, 7, 256, 300])
@pytest.mark.parametrize("band", [None, 1, 5, 1000])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_equals_the_definition(time: int, band: int | None, kv_heads: int) -> None:
    torch.manual_seed(0)
    q = torch.randn(2, 4, time, 6)
    k, v = torch.randn(2, kv_heads, time, 6), torch.randn(2, kv_heads, time, 6)
    torch.testing.assert_close(causal_attention(q, k, v, band), reference(q, k, v, band))


@pytest.mark.parametrize("band", [None, 100])
def test_long_contexts_take_the_kernel_and_agree(band: int | None) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, WRITTEN_OUT + 1, 8) for _ in range(3))
    positions = torch.arange(WRITTEN_OUT + 1)
    mask = causal_mask(positions, positions, band)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(causal_attention(q, k, v, band), expected)
    short = causal_attention(q[:, :, :600], k[:, :, :600], v[:, :, :600], band)
    torch.testing.assert_close(short, expected[:, :, :600])


def test_written_out_gradient_equals_the_kernels() -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(2, 2, 300, 8, requires_grad=True) for _ in range(3)]
    weights = torch.randn(2, 2, 300, 8)
    ours = torch.autograd.grad((causal_attention(*inputs) * weights).sum(), inputs)
    theirs = F.scaled_dot_product_attention(*inputs, is_causal=True)
    for mine, other in zip(ours, torch.autograd.grad((theirs * weights).sum(), inputs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("band", [None, 3])
def test_cache_in_pieces_of_unequal_rows_equals_attention_over_the_whole(band: int | None) -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([9, 4])  # of the first piece, padded to nine
    q, k, v = torch.randn(2, 4, 15, 6), torch.randn(2, 2, 15, 6), torch.randn(2, 2, 15, 6)
    whole = causal_attention(q, k, v, band)
    cache = ContiguousCache(1, 2, 2, 6, capacity=16)
    first = cache.attend(0, q[:, :, :9], k[:, :, :9], v[:, :, :9], band)
    cache.advance(lengths)
    assert cache.positions(2).tolist() == [[9, 10], [4, 5]]
    rows = [[9, 10], [4, 5]]
    pick = torch.stack([torch.tensor(row) for row in rows])[:, None, :, None].expand(2, 4, 2, 6)
    take = pick[:, :2]
    second = cache.attend(0, q.gather(2, pick), k.gather(2, take), v.gather(2, take), band)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(first[row, :, :length], whole[row, :, :length])
        torch.testing.assert_close(second[row], whole[row, :, length : length + 2])


def test_full_cache_is_refused() -> None:
    cache = ContiguousCache(1, 1, 1, 4, capacity=4)
    cache.advance(3)
    with pytest.raises(ValueError, match="3 \\+ 2 tokens do not fit"):
        cache.positions(2)
