"""Mean IoU: the numbers of scikit-learn, and what is not counted."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from bottega.errors import InputError
from bottega.evaluation.segmentation import confusion, measure_segmentation, of_confusion
from bottega.nn.loss import IGNORE


def test_it_is_the_jaccard_score_of_all_pixels_together():
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 4, (2, 6, 8, 8))
    batches = [
        {"pictures": torch.from_numpy(guess[part]), "masks": torch.from_numpy(truth[part])}
        for part in (slice(0, 2), slice(2, 6))
    ]
    model = SimpleNamespace(classes=list("abcd"), segment=lambda pictures: pictures)
    found = measure_segmentation(model, batches)  # type: ignore[arg-type]
    assert found.iou == pytest.approx(jaccard_score(truth.ravel(), guess.ravel(), average=None))
    assert found.mean_iou == pytest.approx(jaccard_score(truth.ravel(), guess.ravel(), average="macro"))
    assert found.accuracy == pytest.approx((truth == guess).mean())
    assert found.pixels == truth.size


def test_ignored_pixels_and_absent_classes_do_not_count():
    truth, guess = np.array([[0, 1, IGNORE]]), np.array([[0, 0, 2]])
    found = of_confusion(confusion(truth, guess, 3))
    assert found.pixels == 2
    assert found.iou[:2].tolist() == [0.5, 0]
    assert np.isnan(found.iou[2])
    assert found.mean_iou == 0.25


def test_nothing_to_measure_on_is_refused():
    with pytest.raises(InputError, match="no pixel"):
        of_confusion(np.zeros((3, 3), np.int64))
    with pytest.raises(InputError, match="the same pixels"):
        confusion(np.zeros((1, 2, 2), np.int64), np.zeros((1, 2, 3), np.int64), 3)
