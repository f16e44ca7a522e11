"""Scaled dot-product attention (Vaswani et al. 2017, eq. 1), causal, whole or in a local band."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Up to this many keys the score matrix is small enough that writing it out beats the blocked kernel on a CPU.
WRITTEN_OUT = 512


def causal_mask(
    queries: Int[Tensor, "*batch query"], keys: Int[Tensor, "*#batch key"], band: int | None = None
) -> Bool[Tensor, "*batch query key"]:
    """Which key positions each query position may see: none ahead, and with a band only the last `band`."""
    distance = queries[..., :, None] - keys[..., None, :]
    seen = distance >= 0
    return seen if band is None else seen & (distance < band)


def causal_attention(
    q: Float[Tensor, "batch head time dim"],
    k: Float[Tensor, "batch kv_head time dim"],
    v: Float[Tensor, "batch kv_head time dim"],
    band: int | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "batch head time dim"]:
    """Every position attends to itself and those before it, or to the last `band` (Child et al. 2019).

    Grouped queries (Ainslie et al. 2023): `head` is a multiple of `kv_head`, neighbours share keys.
    """
    time = q.shape[2]
    if k.shape[1] != q.shape[1]:
        groups = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    if band is not None and band >= time:
        band = None
    if q.device.type == "cpu" and time <= WRITTEN_OUT:
        positions = torch.arange(time, device=q.device)
        hidden = ~causal_mask(positions, positions, band)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        weights = scores.masked_fill(hidden, float("-inf")).softmax(-1, dtype=torch.float32).to(v.dtype)
        return F.dropout(weights, dropout, training=dropout > 0) @ v
    if band is None:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
    positions = torch.arange(time, device=q.device)
    mask = causal_mask(positions, positions, band)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
