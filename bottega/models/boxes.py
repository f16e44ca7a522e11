"""Boxes in pictures: their corners, how far two of them overlap, and what a detector says of a picture.

A box is (centre x, centre y, width, height) in shares of the picture's width and height.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

_LEAST = 1e-9  # of an area that something is divided by: two boxes without area overlap by 0


@dataclass(frozen=True)
class Detections:
    """What was found in one picture, the surest first."""

    boxes: Float[Tensor, "n 4"]
    classes: Int[Tensor, " n"]
    scores: Float[Tensor, " n"]
    """Probability of the class."""
    queries: Int[Tensor, " n"]
    """Which of the model's queries found it."""


def corners(boxes: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """(left, top, right, bottom) of each box."""
    centre, size = boxes.chunk(2, -1)
    return torch.cat((centre - size / 2, centre + size / 2), -1)


def iou(a: Float[Tensor, "*#batch 4"], b: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*batch"]:
    """Intersection over union of each box of `a` with its counterpart in `b`, from 0 to 1.

    The shapes broadcast: `iou(a[:, None], b)` compares all with all.
    """
    shared, union, _ = _areas(a, b)
    return shared / union.clamp(min=_LEAST)


def generalised_iou(a: Float[Tensor, "*#batch 4"], b: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*batch"]:
    """IoU less the share of the smallest box around both that neither fills: from -1 to 1.

    It has a slope even where the two do not touch (Rezatofighi et al. 2019, algorithm 1).
    """
    shared, union, around = _areas(a, b)
    return shared / union.clamp(min=_LEAST) - (around - union) / around.clamp(min=_LEAST)


def _areas(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The areas of the intersection, of the union, and of the smallest box around both."""
    (first_a, last_a), (first_b, last_b) = corners(a).chunk(2, -1), corners(b).chunk(2, -1)
    shared = (torch.minimum(last_a, last_b) - torch.maximum(first_a, first_b)).clamp(min=0).prod(-1)
    around = (torch.maximum(last_a, last_b) - torch.minimum(first_a, first_b)).prod(-1)
    return shared, a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared, around
