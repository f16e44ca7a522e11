"""Matching and set loss beside those of `transformers`, on the same predictions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bottega.models.matching import SetWeights, match, set_loss

theirs = pytest.importorskip("transformers.loss.loss_for_object_detection")


def inputs() -> tuple[dict[str, Tensor], Tensor, Tensor, list[dict[str, Tensor]]]:
    g = torch.Generator().manual_seed(0)
    kinds = torch.randint(-1, 6, (16, 4), generator=g)
    kinds[0], kinds[1] = -1, 2
    boxes = torch.rand(16, 4, 4, generator=g) * 0.4 + 0.2
    outputs = {
        "logits": torch.randn(16, 8, 7, generator=g) * 2,
        "pred_boxes": torch.rand(16, 8, 4, generator=g) * 0.5 + 0.1,
    }
    targets = [{"class_labels": k[k >= 0], "boxes": b[k >= 0]} for k, b in zip(kinds, boxes, strict=True)]
    return outputs, kinds, boxes, targets


def test_the_same_predictions_are_matched() -> None:
    outputs, kinds, boxes, targets = inputs()
    assigned = match(outputs["logits"], outputs["pred_boxes"], kinds, boxes, SetWeights())
    matcher = theirs.HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2)
    for mine, (queries, objects) in zip(assigned, matcher(outputs, targets), strict=True):
        assert mine[mine >= 0][objects].tolist() == queries.tolist()


def test_the_losses_are_the_same() -> None:
    outputs, kinds, boxes, targets = inputs()
    terms = set_loss(outputs["logits"], outputs["pred_boxes"], kinds, boxes, SetWeights())
    matcher = theirs.HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2)
    expected = theirs.ImageLoss(matcher, 6, 0.1, ["labels", "boxes"])(outputs, targets)
    objects = int((kinds >= 0).sum())
    weight = objects + 0.1 * (16 * 8 - objects)  # they divide by the weights, and by the objects
    ours = {
        "loss_ce": terms["class"].sum() / weight,
        "loss_bbox": terms["l1"].sum() / objects,
        "loss_giou": terms["giou"].sum() / objects,
    }
    for name, value in ours.items():
        assert float(value) == pytest.approx(float(expected[name]), abs=1e-5), name
