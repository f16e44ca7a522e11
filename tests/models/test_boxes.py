"""Overlap of boxes: by hand, and by counting the cells of a grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bottega.models.boxes import corners, generalised_iou, iou

CELLS = 16


def box(left: float, top: float, right: float, bottom: float) -> Tensor:
    return torch.tensor([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])


def test_corners_undo_centre_and_size() -> None:
    torch.testing.assert_close(corners(box(0.1, 0.2, 0.5, 0.9)), torch.tensor([0.1, 0.2, 0.5, 0.9]))


@pytest.mark.parametrize(
    ("other", "overlap", "generalised"),
    [
        (box(0.0, 0.0, 0.4, 0.4), 1.0, 1.0),
        (box(0.2, 0.0, 0.6, 0.4), 1 / 3, 1 / 3),  # the box around both holds nothing else
        (box(0.2, 0.2, 0.6, 0.6), 1 / 7, 1 / 7 - 8 / 36),
        (box(0.6, 0.0, 1.0, 0.4), 0.0, -0.2),
        (box(0.6, 0.6, 1.0, 1.0), 0.0, -0.68),
    ],
)
def test_overlap_by_hand(other: Tensor, overlap: float, generalised: float) -> None:
    one = box(0.0, 0.0, 0.4, 0.4)
    assert float(iou(one, other)) == pytest.approx(overlap, abs=1e-6)
    assert float(generalised_iou(one, other)) == pytest.approx(generalised, abs=1e-6)


def test_overlap_by_counting_cells() -> None:
    rng = np.random.default_rng(0)
    edges = np.sort(rng.integers(0, CELLS + 1, (2, 9, 2, 2)), axis=2)  # set, box, low and high, x and y
    edges[:, :, 1] = np.minimum(np.maximum(edges[:, :, 1], edges[:, :, 0] + 1), CELLS + 1)
    boxes = torch.from_numpy(np.concatenate([edges.mean(2), edges[:, :, 1] - edges[:, :, 0]], -1)).float()
    boxes = boxes / CELLS
    cell = np.arange(CELLS + 1) + 0.5

    def filled(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        across, down = ((cell > low[axis]) & (cell < high[axis]) for axis in (0, 1))
        return down[:, None] & across[None]

    overlaps = iou(boxes[0][:, None], boxes[1])
    generalised = generalised_iou(boxes[0][:, None], boxes[1])
    for i, (low_a, high_a) in enumerate(edges[0]):
        for j, (low_b, high_b) in enumerate(edges[1]):
            a, b = filled(low_a, high_a), filled(low_b, high_b)
            around = filled(np.minimum(low_a, low_b), np.maximum(high_a, high_b)).sum()
            shared, union = (a & b).sum(), (a | b).sum()
            assert float(overlaps[i, j]) == pytest.approx(shared / union, abs=1e-6)
            expected = shared / union - (around - union) / around
            assert float(generalised[i, j]) == pytest.approx(expected, abs=1e-6)


def test_boxes_apart_still_have_a_slope_and_points_no_overlap() -> None:
    there, here = box(0.6, 0.6, 0.9, 0.9), box(0.1, 0.1, 0.3, 0.3).requires_grad_()
    generalised_iou(here, there).backward()  # type: ignore[no-untyped-call]
    assert here.grad is not None and float(here.grad[0]) > 0 and float(here.grad[1]) > 0
    point = torch.tensor([0.5, 0.5, 0.0, 0.0])
    assert float(iou(point, point)) == 0 and torch.isfinite(generalised_iou(point, point))
