"""Zeros and ones drawn fast: the sampling of a Boltzmann machine is mostly this."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

LEVELS = 2**16


def bernoulli(
    logits: Float[Tensor, "*shape"], generator: torch.Generator | None = None
) -> Float[Tensor, "*shape"]:
    """Draw 1 with probability σ(logit), else 0, in the dtype of the logits.

    16 random bits decide an entry, so that one 64-bit number serves four: a probability is met to within
    1/131,072, and torch.bernoulli takes several times as long on a CPU.
    """
    n = logits.numel()
    words = torch.empty(math.ceil(n / 4), dtype=torch.int64, device=logits.device)
    bits = words.random_(-(2**63), None, generator=generator).view(torch.int16)[:n].view(logits.shape)
    # bits + 32768.5 is the middle of one of the levels; sigmoid and comparison need more than bf16's digits.
    levels = logits.float().sigmoid().mul_(LEVELS).sub_(LEVELS / 2 + 0.5)
    return levels.gt_(bits).to(logits.dtype)
