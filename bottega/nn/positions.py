"""Positions: rotary ones with the scalings of published checkpoints; sinusoids; binary digits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rotary_frequencies(
    head_dim: int, theta: float, scaling: Mapping[str, Any] | None = None
) -> Float[Tensor, " half"]:
    """Radians per position for each pair of channels: θ^(-2i/D), eq. 15 of Su et al. (2021).

    `scaling` is None, `{"rope_type": "linear", "factor"}` (Chen et al. 2023) or `{"rope_type": "llama3",
    "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}` (Grattafiori et al.
    2024): slow frequencies are divided by the factor, fast ones kept, those between interpolated.
    """
    frequencies = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    if scaling is None:
        return frequencies
    if scaling["rope_type"] == "linear":
        return frequencies / scaling["factor"]
    turns = scaling["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    keep = ((turns - low) / (high - low)).clamp(0, 1)
    return frequencies * (keep + (1 - keep) / scaling["factor"])


def rotary_table(
    positions: Int[Tensor, "*batch time"], frequencies: Float[Tensor, " half"]
) -> tuple[Float[Tensor, "*batch 1 time dim"], Float[Tensor, "*batch 1 time dim"]]:
    """Cosine and signed sine of each position's angles, with an axis for the heads."""
    angles = positions[..., None].float() * frequencies
    sine = angles.sin()
    return (
        torch.cat((angles, angles), -1).cos().unsqueeze(-3),
        torch.cat((-sine, sine), -1).unsqueeze(-3),
    )


def rotate(
    x: Float[Tensor, "batch head time dim"],
    cosine: Float[Tensor, "*#batch 1 time dim"],
    signed_sine: Float[Tensor, "*#batch 1 time dim"],
) -> Float[Tensor, "batch head time dim"]:
    """Turn the pair (x_i, x_{i+D/2}) by its angle; the halves' layout is that of GPT-NeoX, Llama and Qwen."""
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat((second, first), -1) * signed_sine


def sinusoidal(positions: Int[Tensor, "*batch time"], width: int) -> Float[Tensor, "*batch time width"]:
    """sin(p / 10000^(2i/width)) in channel 2i, its cosine in 2i + 1 (Vaswani et al. 2017, section 3.5).

    `width` is even.
    """
    angles = positions[..., None].float() * rotary_frequencies(width, 10000.0).to(positions.device)
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(-2)


def binary(positions: Int[Tensor, "*batch time"], width: int) -> Float[Tensor, "*batch time width"]:
    """The position's binary digits, the lowest in channel 0; the channels above 31 are 0.

    What the sinusoids do smoothly: the channels flip ever more slowly.
    """
    digits = torch.arange(min(width, 32), device=positions.device)
    bits = (positions[..., None].long() >> digits & 1).float()
    return torch.nn.functional.pad(bits, (0, width - len(digits)))
