"""Matrix products whose sums and results are fp32, whatever their factors are kept in."""

from __future__ import annotations

import torch
from torch import Tensor


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b of (m, k) and (k, n), or of (batch, m, k) and (batch, k, n), in fp32.

    Both are fp32, or both bf16: GPUs multiply those as they are, where others would round the result too.
    """
    if a.dtype == torch.float32:
        return a @ b
    if a.device.type != "cuda":
        return a.float() @ b.float()
    multiply = torch.mm if a.dim() == 2 else torch.bmm
    return multiply(a, b, out_dtype=torch.float32)
