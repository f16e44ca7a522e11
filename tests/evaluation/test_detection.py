"""Average precision: an example worked out by hand, and beside COCO's own program."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch
from torch import Tensor

from bottega.errors import InputError
from bottega.evaluation.detection import average_precision, measure_detection
from bottega.models.boxes import Detections
from bottega.models.detr import DETR, DETRConfig

HERE, THERE, BETWEEN = (torch.tensor([x, 0.5, 0.2, 0.2]) for x in (0.2, 0.8, 0.5))


def found(*rows: tuple[Tensor, int, float]) -> Detections:
    boxes = torch.stack([row[0] for row in rows]) if rows else torch.zeros(0, 4)
    classes, scores = (
        torch.tensor([row[i] for row in rows], dtype=d) for i, d in ((1, torch.long), (2, torch.float))
    )
    return Detections(boxes, classes, scores, torch.arange(len(rows)))


def test_by_hand() -> None:
    """Class 0 has three objects. By falling score: right, wrong (twice), right, wrong; one is not found.

    Precision 1 holds up to a recall of 1/3 (34 of the 101 recalls), 2/3 up to 2/3 (33 more), then 0.
    Class 1 is found where it is not; class 2 never occurs, and is found.
    """
    pictures = [
        found((HERE, 0, 0.9), (HERE, 0, 0.8), (BETWEEN, 1, 0.6)),
        found((HERE, 0, 0.7), (BETWEEN, 0, 0.2), (BETWEEN, 2, 0.9)),
    ]
    classes = [torch.tensor([0, 1, -1]), torch.tensor([0, 0])]
    boxes = [torch.stack([HERE, HERE, BETWEEN]), torch.stack([HERE, THERE])]
    result = average_precision(pictures, classes, boxes, 3)
    assert result.of_class[0] == pytest.approx((34 + 33 * 2 / 3) / 101)
    assert result.of_class[1] == 0 and np.isnan(result.of_class[2])
    assert result.mean == pytest.approx(result.of_class[0] / 2)
    assert result.objects == 4


def test_what_is_found_exactly_has_precision_one_and_overlap_decides() -> None:
    near = HERE + torch.tensor([0.05, 0.0, 0.0, 0.0])  # overlaps by 3/5
    for overlap, expected in ((0.5, 1.0), (0.59, 1.0), (0.61, 0.0)):
        one = average_precision([found((near, 0, 0.1))], [torch.tensor([0])], [HERE[None]], 1, overlap)
        assert one.mean == expected
    nothing = average_precision([found()], [torch.tensor([0])], [HERE[None]], 1)
    assert nothing.mean == 0


def test_as_coco_computes_it() -> None:
    coco = pytest.importorskip("pycocotools.coco")
    coco_eval = pytest.importorskip("pycocotools.cocoeval")
    g = torch.Generator().manual_seed(0)
    n, n_class = 40, 3
    classes = torch.randint(-1, n_class, (n, 5), generator=g)
    boxes = torch.rand(n, 5, 4, generator=g) * 0.3 + 0.2
    moved = boxes + torch.randn(n, 5, 4, generator=g) * 0.03
    said = torch.where(torch.rand(n, 5, generator=g) < 0.8, classes, 1).clamp(min=0)
    scores = torch.rand(n, 5, generator=g)
    detections = [Detections(*one, torch.arange(5)) for one in zip(moved, said, scores, strict=True)]

    def record(picture: int, box: Tensor, kind: Tensor) -> dict[str, object]:
        x, y, w, h = box.double().tolist()
        area = {"area": w * h, "iscrowd": 0}
        return {"image_id": picture, "category_id": int(kind), "bbox": [x - w / 2, y - h / 2, w, h], **area}

    truth = [record(i, boxes[i, j], classes[i, j]) for i, j in (classes >= 0).nonzero().tolist()]
    results = [
        record(i, moved[i, j], said[i, j]) | {"score": float(scores[i, j])}
        for i in range(n)
        for j in range(5)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        known = coco.COCO()
        known.dataset = {
            "images": [{"id": i} for i in range(n)],
            "categories": [{"id": k} for k in range(n_class)],
            "annotations": [{"id": i + 1, **one} for i, one in enumerate(truth)],
        }
        known.createIndex()
        heard = coco.COCO()
        heard.dataset = known.dataset | {
            "annotations": [{"id": i + 1, **one} for i, one in enumerate(results)]
        }
        heard.createIndex()
        evaluation = coco_eval.COCOeval(known, heard, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    for overlap, at in ((0.5, 0), (0.75, 5)):
        expected = evaluation.eval["precision"][at, :, :, 0, -1].mean(0)  # of all sizes, 100 a picture
        ours = average_precision(detections, list(classes), list(boxes), n_class, overlap)
        assert 0.05 < ours.mean < 0.95
        np.testing.assert_allclose(ours.of_class, expected, atol=1e-9)


def test_a_model_is_measured_on_batches() -> None:
    model = DETR(DETRConfig(height=8, width=8, n_class=2, n_query=3, n_embd=16, n_head=2, n_inner=16)).eval()
    batch = {
        "pictures": torch.rand(4, 3, 8, 8),
        "classes": torch.tensor([[0], [1], [-1], [0]]),
        "boxes": HERE.expand(4, 1, 4),
    }
    result = measure_detection(model, [batch, batch])
    assert result.objects == 6 and 0 <= result.mean <= 1


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="same number"):
        average_precision([found()], [], [], 1)
    with pytest.raises(InputError, match="no object to find"):
        average_precision([found()], [torch.tensor([-1])], [HERE[None]], 1)
    with pytest.raises(InputError, match="overlap"):
        average_precision([found()], [torch.tensor([0])], [HERE[None]], 1, overlap=0.0)
