"""How well pixels are told apart: mean intersection over union."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bottega.errors import InputError
from bottega.models.abilities import SegmentsPictures
from bottega.nn.loss import IGNORE


@dataclass(frozen=True)
class Segmentation:
    """Intersection over union of each class, nan for one that neither occurs nor was guessed, and pixels."""

    iou: NDArray[np.float64]
    accuracy: float
    pixels: int

    @property
    def mean_iou(self) -> float:
        """The mean over the classes that occur or were guessed."""
        return float(np.nanmean(self.iou))


def measure_segmentation(model: SegmentsPictures, batches: Iterable[Mapping[str, Tensor]]) -> Segmentation:
    """Segment the `pictures` of every batch and compare with their `masks`; IGNORE is not counted.

    Intersections and unions are summed over all pictures before they are divided, as Pascal VOC does
    (Everingham et al. 2015, section 4.3), so a large object weighs more than a small one. Raises InputError
    where there is no pixel.
    """
    n = len(model.classes)
    table = np.zeros((n, n), np.int64)
    for batch in batches:
        table += confusion(batch["masks"].cpu().numpy(), model.segment(batch["pictures"]).cpu().numpy(), n)
    return of_confusion(table)


def confusion(truth: NDArray[np.int64], guess: NDArray[np.int64], n_class: int) -> NDArray[np.int64]:
    """How many pixels of each true class (rows) were taken for each (columns)."""
    if truth.shape != guess.shape:
        raise InputError(f"masks of {truth.shape} and of {guess.shape}: expected the same pixels")
    counted = truth != IGNORE
    pairs = n_class * truth[counted] + guess[counted]
    found: NDArray[np.int64] = np.bincount(pairs, minlength=n_class**2)
    return found.reshape(n_class, n_class)


def of_confusion(table: NDArray[np.int64]) -> Segmentation:
    """The measures that follow from a table of `confusion`; InputError where it is empty."""
    pixels = int(table.sum())
    if not pixels:
        raise InputError("there is no pixel to measure on; give pictures with masks")
    right = np.diag(table)
    union = table.sum(0) + table.sum(1) - right
    iou = np.where(union > 0, right / np.maximum(union, 1), np.nan)
    return Segmentation(iou, float(right.sum() / pixels), pixels)
