"""Predictions as a set: which of them stands for which object, and what the whole set costs.

Carion et al. (2020), "End-to-End Object Detection with Transformers", section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from bottega.errors import InputError
from bottega.models.boxes import generalised_iou


@dataclass(frozen=True)
class SetWeights:
    """What an error of each kind weighs (the paper's section A.4), in the matching and in the loss."""

    l1: int | float = 5.0
    giou: int | float = 2.0
    no_object: int | float = 0.1
    """Of the class "no object", which most predictions have."""


def match(
    logits: Float[Tensor, "batch query class"],
    boxes: Float[Tensor, "batch query 4"],
    true_classes: Int[Tensor, "batch object"],
    true_boxes: Float[Tensor, "batch object 4"],
    weights: SetWeights,
) -> Int[Tensor, "batch object"]:
    """The prediction that stands for each object, no two for the same one, at the least cost (eq. 1).

    The cost of a pair is -p(class) + l1·‖b - b̂‖₁ - giou·GIoU(b, b̂); the last class is "no object". The
    result is -1 where `true_classes` is negative, for there is no object. Raises InputError where a picture
    has more objects than there are predictions.
    """
    from scipy.optimize import linear_sum_assignment

    present = true_classes >= 0
    most = int(present.sum(1).max()) if present.numel() else 0
    if most > logits.shape[1]:
        raise InputError(f"a picture has {most} objects, but there are {logits.shape[1]} queries; give more")
    with torch.no_grad():
        wanted = true_classes.clamp(min=0)[:, None].expand(-1, logits.shape[1], -1)
        probability = logits.float().softmax(-1).gather(2, wanted)
        found, true = boxes.float()[:, :, None], true_boxes[:, None]
        distance = (found - true).abs().sum(-1)
        cost = weights.l1 * distance - probability - weights.giou * generalised_iou(found, true)
    costs = cost.nan_to_num(nan=1e9).cpu().numpy()  # of a run that diverged: its loss will say so
    assigned = torch.full_like(true_classes, -1, device="cpu")
    for row, there, table in zip(assigned, present.cpu(), costs, strict=True):
        queries, objects = linear_sum_assignment(table[:, there.numpy()])
        row[there.nonzero()[:, 0][objects]] = torch.from_numpy(queries)
    return assigned.to(true_classes.device)


def set_loss(
    logits: Float[Tensor, "batch query class"],
    boxes: Float[Tensor, "batch query 4"],
    true_classes: Int[Tensor, "batch object"],
    true_boxes: Float[Tensor, "batch object 4"],
    weights: SetWeights,
) -> dict[str, Float[Tensor, " batch"]]:
    """What each picture's predictions cost after matching (eq. 2): its `class`, `l1` and `giou`, unweighted.

    `class` is the cross-entropy in nats over all predictions, those of nothing with their small weight; `l1`
    the distances and `giou` the sum of 1 - GIoU over the objects. A picture costs
    `class + weights.l1 · l1 + weights.giou · giou`.
    """
    assigned = match(logits, boxes, true_classes, true_boxes, weights)
    picture, place = (true_classes >= 0).nonzero(as_tuple=True)
    query = assigned[picture, place]
    n, n_query, n_class = logits.shape
    targets = torch.full((n, n_query), n_class - 1, device=logits.device)
    targets[picture, query] = true_classes[picture, place]
    weight = torch.ones(n_class, device=logits.device)
    weight[-1] = weights.no_object
    nats = F.cross_entropy(logits.float().transpose(1, 2), targets, weight, reduction="none").sum(1)
    found, true = boxes[picture, query].float(), true_boxes[picture, place]

    def by_picture(of_object: Tensor) -> Tensor:
        return torch.zeros(n, device=logits.device).index_add(0, picture, of_object)

    return {
        "class": nats,
        "l1": by_picture((found - true).abs().sum(-1)),
        "giou": by_picture(1 - generalised_iou(found, true)),
    }
