"""Matrices as fp32, bf16, int8 or int4, and the order in which the kernels read them."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bottega.engine import kernels

Kind = Literal["fp32", "bf16", "int8", "int4"]
KINDS: tuple[Kind, ...] = ("fp32", "bf16", "int8", "int4")

PANEL = 64  # output channels that the kernel computes together
GROUP = 32  # inputs that share a scale
_CANDIDATES = (1.0, 0.95, 0.9, 0.85)  # steps of int4: a smaller one clips the largest weight


def quantise(weight: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """The bytes of a matrix (out, in) row by row, and its scales.

    fp32, bf16: (out, in), no scales. int8: (out, in) with 128 added, (out,) fp32. int4: (out, in / 2), two in
    a byte with 8 added, of every eight inputs the first four in the lower halves; (out, groups) bf16. Inputs
    are filled up to whole groups with zeros.
    """
    if kind == "fp32":
        return weight.float(), torch.empty(0)
    if kind == "bf16":
        return weight.bfloat16(), torch.empty(0)
    weight = F.pad(weight.float(), (0, -weight.shape[1] % GROUP)).contiguous()
    library = kernels.on(weight.device)
    if library is not None:
        rows, n = weight.shape
        words = torch.empty(rows, n if kind == "int8" else n // 2, dtype=torch.uint8)
        scales = torch.empty(rows) if kind == "int8" else torch.empty(rows, n // GROUP, dtype=torch.bfloat16)
        library.quantise(
            weight.data_ptr(), rows, n, 8 if kind == "int8" else 4, words.data_ptr(), scales.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        return words, scales
    one = _eight_bits if kind == "int8" else _four_bits
    height = max(1, 2**18 // weight.shape[1])  # rows that fit a cache
    parts = [one(weight[start : start + height]) for start in range(0, len(weight), height)]
    words, scales = (torch.cat(part) for part in zip(*parts, strict=True))
    return words, scales


def _eight_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    largest = torch.maximum(weight.amax(1), -weight.amin(1))
    scales = torch.where(largest > 1e-30, largest / 127, 0.0)
    divisors = torch.where(scales == 0, 1.0, scales)
    return (weight / divisors[:, None]).round_().add_(128).to(torch.uint8), scales


def _four_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Two levels a byte, and the scale of each group: of some steps the one that errs least."""
    groups = weight.view(-1, GROUP).T.contiguous()  # reductions over the first dimension are fast
    high, low = groups.amax(0), groups.amin(0)
    farthest = torch.where(high > -low, high, low)
    best = torch.full_like(farthest, float("inf"))
    scales, levels = torch.zeros_like(farthest), torch.zeros_like(groups)
    for candidate in _CANDIDATES:
        # The farthest weight becomes -8, the end that reaches one step farther than 7.
        scale = (farthest * (-candidate / 8)).bfloat16().float()
        tried = (groups / torch.where(scale == 0, 1.0, scale)).round_().clamp_(-8, 7)
        error = (tried * scale).sub_(groups).square_().sum(0)
        better = error < best
        best, scales = torch.where(better, error, best), torch.where(better, scale, scales)
        levels = torch.where(better, tried, levels)
    eights = levels.add_(8).to(torch.uint8).T.reshape(len(weight), -1, 2, 4)
    return (eights[:, :, 0] | eights[:, :, 1] << 4).flatten(1), scales.view(len(weight), -1).bfloat16()


def expand(
    words: Tensor, scales: Tensor, kind: Kind, n_in: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor | None]:
    """The matrix (out, in) that `quantise` keeps; its rows are still to be multiplied by the factors, if any.

    Those are int8's scales: without them its levels are exact in bf16 too.
    """
    if kind in ("fp32", "bf16"):
        return words.to(dtype), None
    if kind == "int8":
        return words[:, :n_in].to(dtype) - 128, scales
    fours = words.view(len(words), -1, 1, 4)
    levels = torch.cat([fours & 15, fours >> 4], 2).view(*scales.shape, GROUP).float() - 8
    return (levels * scales.float()[:, :, None]).flatten(1)[:, :n_in].to(dtype), None


def panels(rows: Tensor) -> Tensor:
    """Rows (out, ...) as int32 (panel, step, channel): what a panel reads in one step lies together."""
    if rows.shape[1] * rows.element_size() % 4:
        rows = F.pad(rows, (0, 1))  # an odd number of bf16
    words = whole_panels(rows.contiguous().view(torch.int32))
    return words.view(-1, PANEL, words.shape[1]).transpose(1, 2).contiguous()


def whole_panels(rows: Tensor) -> Tensor:
    """Rows (out, ...) filled up with zeros to whole panels."""
    missing = -len(rows) % PANEL
    return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])]) if missing else rows
