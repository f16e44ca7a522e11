"""DETR: what it learns, what it finds, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bottega.data.scene_batches import SceneBatches
from bottega.data.scenes import SceneConfig
from bottega.errors import InputError
from bottega.models.boxes import Detections, iou
from bottega.models.detr import DETR, DETRConfig, grid_positions
from bottega.models.load import load

TINY = DETRConfig(height=16, width=24, n_query=5, n_embd=32, n_inner=48, n_head=2, n_decoder_layer=2)
SMALL = replace(TINY, width=16, n_embd=64, n_inner=64, n_encoder_layer=1)


def some_batch(n: int = 3, config: DETRConfig = TINY) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    kinds = torch.randint(0, config.n_class, (n, 3), generator=g)
    kinds[0], kinds[1, 1:] = -1, -1
    boxes = torch.rand(n, 3, 4, generator=g) * 0.4 + 0.2
    pictures = torch.rand(n, config.channels, config.height, config.width, generator=g)
    return {"pictures": pictures, "classes": kinds, "boxes": boxes}


def test_it_overfits_four_scenes() -> None:
    torch.manual_seed(0)
    batch = SceneBatches(SceneConfig(16, max_objects=3), 4).next_batch()
    model = DETR(SMALL)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
    for step in range(150):
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1, (150 - step) / 75)
        loss = model.loss(batch)
        optimizer.zero_grad()
        loss.mean.backward()
        optimizer.step()
    detections = model.eval().detect(batch["pictures"])
    for kinds, boxes, found in zip(batch["classes"], batch["boxes"], detections, strict=True):
        assert sorted(found.classes.tolist()) == sorted(kinds[kinds >= 0].tolist())
        overlaps = iou(boxes[kinds >= 0][:, None], found.boxes)
        assert float(overlaps.max(1).values.min()) > 0.8


def test_the_loss_is_a_sum_over_pictures() -> None:
    model, batch = DETR(TINY).eval(), some_batch()
    whole = model.loss(batch)
    assert int(whole.count) == 3 and set(whole.metrics) == {"class", "l1", "giou"}
    parts = [model.loss({k: v[i : i + 1] for k, v in batch.items()}) for i in range(3)]
    torch.testing.assert_close(sum(part.total for part in parts), whole.total)
    for name, value in whole.metrics.items():
        torch.testing.assert_close(sum(part.metrics[name] for part in parts), value)


def test_scenes_without_objects_have_a_loss_too() -> None:
    batch = some_batch()
    batch["classes"] = torch.full_like(batch["classes"], -100)
    loss = DETR(TINY).loss(batch)
    assert torch.isfinite(loss.mean) and float(loss.metrics["l1"]) == float(loss.metrics["giou"]) == 0


def test_every_decoder_layer_answers_and_is_trained() -> None:
    model, batch = DETR(TINY), some_batch()
    logits, boxes = (said.detach() for said in model(batch["pictures"]))
    assert logits.shape == (2, 3, 5, 7) and boxes.shape == (2, 3, 5, 4)
    assert float(boxes.min()) >= 0 and float(boxes.max()) <= 1
    model.loss(batch).total.backward()  # type: ignore[no-untyped-call]
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == ["decoder.0.norm1.weight"]  # of the zeros that the decoder begins with
    first = replace(TINY, n_decoder_layer=1)
    alone = DETR(first)
    alone.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("decoder.1.")})
    torch.testing.assert_close(alone(batch["pictures"])[0][0], logits[0])


def test_bf16_gives_nearly_the_same_in_full_precision() -> None:
    model, batch = DETR(TINY).eval(), some_batch()
    in_full = model.loss(batch).mean
    model.bfloat16()
    loss = model.loss(batch)
    assert loss.total.dtype == torch.float32
    torch.testing.assert_close(loss.mean, in_full, rtol=0.05, atol=0.0)


def test_detections_come_surest_first_above_the_threshold() -> None:
    model, pictures = DETR(TINY).eval(), some_batch()["pictures"]
    every = model.detect(pictures, 0.0)
    assert [len(found.scores) for found in every] == [5, 5, 5]
    for found in every:
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
        assert found.boxes.shape == (5, 4) and int(found.classes.max()) < TINY.n_class
    middle = float(every[0].scores[2])
    some: Detections = model.detect(pictures, middle)[0]
    torch.testing.assert_close(some.boxes, every[0].boxes[:3])
    torch.testing.assert_close(model(pictures)[1][-1, 0, some.queries], some.boxes)
    assert len(model.detect(pictures, 1.0)[0].scores) == 0


def test_attention_shows_where_queries_look() -> None:
    table = DETR(TINY).eval().attention(some_batch()["pictures"])
    assert table.shape == (3, 5, 4, 6)
    torch.testing.assert_close(table.sum((2, 3)), torch.ones(3, 5))


def test_positions_tell_rows_from_columns() -> None:
    positions = grid_positions(4, 6, 32)
    assert positions.shape == (24, 32) and len(positions.unique(dim=0)) == 24
    torch.testing.assert_close(positions[7, :16], positions[8, :16])  # one row, two columns
    torch.testing.assert_close(positions[1, 16:], positions[7, 16:])  # one column, two rows


def test_it_goes_to_disk_and_back(tmp_path: Path) -> None:
    model, pictures = DETR(TINY).eval(), some_batch()["pictures"]
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, DETR) and again.config == TINY and again.picture_shape == (3, 16, 24)
    torch.testing.assert_close(again(pictures), model(pictures))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_query": 0}, "n_query of at least 1"),
        ({"n_class": 0}, "n_class of at least 1"),
        ({"n_embd": 30}, "multiple of n_head 4, and of 4"),
        ({"stride": 3}, "power of two"),
        ({"stride": 64}, "do not divide"),
        ({"dropout": 1.0}, "dropout"),
        ({"giou_weight": float("nan")}, "giou_weight must be 0 or more"),
    ],
)
def test_senseless_shapes_are_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DETRConfig(**fields)  # type: ignore[arg-type]


def test_pictures_that_it_cannot_see_are_refused() -> None:
    model, pictures = DETR(TINY).eval(), some_batch()["pictures"]
    for wrong, message in (
        (pictures[:, :1], "takes pictures of n × 3 × 16 × 24 .* not 3 × 1 × 16 × 24"),
        (pictures * 255, "divide bytes by 255"),
        (pictures * float("nan"), "from nan to nan"),
        (pictures[:0], "was given no pictures"),
    ):
        with pytest.raises(InputError, match=message):
            model.detect(wrong)
    with pytest.raises(InputError, match="threshold"):
        model.detect(pictures, 1.5)
