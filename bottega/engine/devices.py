"""Where a model runs."""

from __future__ import annotations

import torch

from bottega.errors import InputError


def find(name: str) -> torch.device:
    """The device that settings name: `cpu`, `cuda`, `cuda:1`, or `auto`, the first GPU or else the CPU.

    Raises InputError where there is no such GPU.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if count else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        there = f"{count} CUDA GPUs are there" if count else "torch finds no CUDA GPU"
        raise InputError(f"device {name}: {there}; --device cpu runs on the processor")
    # With its number, which tensors on it have too.
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device
