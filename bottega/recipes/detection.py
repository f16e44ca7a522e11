"""DETR as a preset: it learns from scenes that are drawn while it learns, and is measured by AP50."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bottega.data.scenes import SHAPES
from bottega.errors import InputError
from bottega.evaluation.detection import measure_detection
from bottega.models.detr import DETR, DETRConfig
from bottega.plots.boxes import BoxedPicture, draw_boxes
from bottega.recipes.preset import Preset
from bottega.recipes.scenes import DATA, NOT_OFFERED, SceneTask, SceneTraining, train_on_scenes
from bottega.training.context import Batch
from bottega.training.events import Listener


def train_detr(
    shape: DETRConfig,
    data: tuple[str, ...],
    out: Path,
    training: SceneTraining,
    on_event: Listener | None,
) -> str:
    """Train a DETR on drawn scenes, with AP50 at each validation, and say what it reaches at the end.

    Raises what `train_on_scenes` raises, and InputError where scenes may hold more objects than there are
    queries.
    """
    if shape.n_query < training.max_objects:
        raise InputError(
            f"{shape.n_query} queries cannot find {training.max_objects} objects; give more, with --n-query"
        )
    shape = replace(shape, channels=3, height=training.size, width=training.size, n_class=len(SHAPES))
    task = SceneTask("AP50", SHAPES, _measure, _draw)
    return train_on_scenes(task, lambda: DETR(shape), data, out, training, on_event)


def boxed(model: DETR, batch: Batch, threshold: float = 0.5, attention: bool = False) -> list[BoxedPicture]:
    """The pictures of a batch with what is there and what the model finds, ready to be drawn."""
    found = model.detect(batch["pictures"], threshold)
    looked = model.attention(batch["pictures"]).float().cpu() if attention else None
    return [
        BoxedPicture(
            batch["pictures"][i].numpy(),
            batch["boxes"][i][batch["classes"][i] >= 0].numpy(),
            one.boxes.numpy(),
            [f"{SHAPES[k]} {p:.0%}" for k, p in zip(one.classes.tolist(), one.scores.tolist(), strict=True)],
            None if looked is None else looked[i, one.queries].numpy(),
        )
        for i, one in enumerate(found)
    ]


def _measure(model: DETR, batches: Iterable[Batch]) -> tuple[float, Sequence[float]]:
    found = measure_detection(model, batches)
    return found.mean, found.of_class


def _draw(model: DETR, batch: Batch, file: Path) -> None:
    draw_boxes(boxed(model, batch), file)


PRESETS: dict[str, Preset] = {
    "detr-tiny": Preset(
        about="DETR of 2 encoder and 3 decoder layers, 128 wide, with 8 queries, for drawn scenes",
        shape=DETRConfig(height=64, width=64, stride=8),
        training=SceneTraining(steps=2000, batch_size=64, learning_rate=1e-3),
        run=train_detr,
        data=DATA,
        expected="AP50 0.990 on 2,000 held-out scenes, after 6 minutes of one core",
        not_offered=NOT_OFFERED,
    ),
}
