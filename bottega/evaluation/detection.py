"""How well a detector finds: average precision at an overlap of a half, as COCO computes it (AP50).

Lin et al. (2014), "Microsoft COCO: Common Objects in Context"; interpolated at the 101 recalls 0, 0.01 … 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bottega.errors import InputError
from bottega.models.boxes import Detections, iou
from bottega.models.detr import DETR

RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Precision:
    """Average precision of each class, nan where it never occurs, and the mean over those that do."""

    of_class: tuple[float, ...]
    mean: float
    objects: int


def average_precision(
    found: Sequence[Detections],
    true_classes: Sequence[Tensor],
    true_boxes: Sequence[Tensor],
    n_class: int,
    overlap: float = 0.5,
) -> Precision:
    """Compare what was found in each picture with what is there: its classes (k), boxes (k, 4).

    A negative class is no object. The surest detection chooses first: among the objects of its class that no
    other has taken, the one it overlaps most, if by an IoU of at least `overlap`. Then it is right, otherwise
    wrong. Precision at a recall is the best at that recall or beyond. `found` should hold every detection,
    however unsure. Raises InputError where the numbers of pictures differ or there is nothing to find.
    """
    if not len(found) == len(true_classes) == len(true_boxes):
        sizes = (len(found), len(true_classes), len(true_boxes))
        raise InputError(f"detections, classes and boxes are of {sizes} pictures; expected the same number")
    if not 0 < overlap <= 1:
        raise InputError(f"overlap must be an IoU, above 0 and up to 1, not {overlap}")
    of_class, objects = [], 0
    for kind in range(n_class):
        there = [boxes[classes == kind] for classes, boxes in zip(true_classes, true_boxes, strict=True)]
        judged = [_judged(one, kind, boxes, overlap) for one, boxes in zip(found, there, strict=True)]
        scores, right = (np.concatenate(parts) for parts in zip(*judged, strict=True))
        n = sum(map(len, there))
        objects += n
        of_class.append(_area(scores, right, n) if n else float("nan"))
    if not objects:
        raise InputError("the pictures hold no object to find; average precision needs some")
    return Precision(tuple(of_class), float(np.nanmean(of_class)), objects)


def _judged(
    found: Detections, kind: int, there: Tensor, overlap: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The scores of a picture's detections of a class, the surest first, and whether each is right."""
    mine = found.classes == kind
    order = found.scores[mine].argsort(descending=True, stable=True)
    scores, boxes = found.scores[mine][order], found.boxes[mine][order]
    overlaps = iou(boxes[:, None].double(), there[None].double())
    right = np.zeros(len(boxes), bool)
    for i, row in enumerate(overlaps if len(there) else ()):
        best = int(row.argmax())
        if row[best] >= overlap:
            right[i] = True
            overlaps[:, best] = -1  # taken
    return scores.double().numpy(), right


def _area(scores: NDArray[np.float64], right: NDArray[np.bool_], n: int) -> float:
    """The mean of the interpolated precision over `RECALLS`; 0 where a recall is not reached."""
    hits = right[np.argsort(-scores, kind="stable")].cumsum()
    precision = hits / np.arange(1, len(hits) + 1)
    best_from = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / n, RECALLS)
    return float(np.append(best_from, 0.0)[at].mean())


def measure_detection(
    model: DETR, batches: Iterable[Mapping[str, Tensor]], overlap: float = 0.5
) -> Precision:
    """The average precision of a model on batches of pictures, boxes and classes, as `loss` takes them."""
    found: list[Detections] = []
    classes: list[Tensor] = []
    boxes: list[Tensor] = []
    for batch in batches:
        found += model.detect(batch["pictures"], 0.0)
        classes += batch["classes"]
        boxes += batch["boxes"]
    return average_precision(found, classes, boxes, model.config.n_class, overlap)
