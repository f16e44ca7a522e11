"""SegFormer as a preset: it learns from scenes drawn while it learns, and is measured by mean IoU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bottega.data.scenes import SHAPES
from bottega.evaluation.segmentation import measure_segmentation
from bottega.models.segformer import SegFormer, SegFormerConfig
from bottega.plots.masks import draw_masks
from bottega.recipes.preset import Preset
from bottega.recipes.scenes import DATA, NOT_OFFERED, SceneTask, SceneTraining, train_on_scenes
from bottega.training.context import Batch
from bottega.training.events import Listener

CLASSES = ("background", *SHAPES)  # of a pixel, in the order of the masks' numbers


def train_segformer(
    shape: SegFormerConfig,
    data: tuple[str, ...],
    out: Path,
    training: SceneTraining,
    on_event: Listener | None,
) -> str:
    """Train a SegFormer on drawn scenes, with mean IoU at each validation and at the end.

    Raises what `train_on_scenes` raises.
    """
    size = training.scenes.size
    shape = replace(shape, channels=3, height=size, width=size, n_class=len(CLASSES))
    task = SceneTask("mean IoU", CLASSES, _measure, _draw)
    return train_on_scenes(task, lambda: SegFormer(shape, CLASSES), data, out, training, on_event)


def _measure(model: SegFormer, batches: Iterable[Batch]) -> tuple[float, Sequence[float]]:
    found = measure_segmentation(model, batches)
    return found.mean_iou, found.iou.tolist()


def _draw(model: SegFormer, batch: Batch, file: Path) -> None:
    guess = model.segment(batch["pictures"]).numpy(force=True)
    draw_masks(batch["pictures"].numpy(), batch["masks"].numpy(), guess, model.classes, file)


PRESETS: dict[str, Preset] = {
    "segformer-tiny": Preset(
        about="SegFormer of 3 stages, 32 to 96 wide, for drawn scenes",
        shape=SegFormerConfig(
            widths=(32, 64, 96),
            depths=(2, 2, 2),
            heads=(1, 2, 4),
            patches=(7, 3, 3),
            strides=(4, 2, 2),
            reductions=(4, 2, 1),
            mlp_ratios=(2, 2, 4),
            decoder_width=64,
            dropout=0.0,
        ),
        training=SceneTraining(steps=1500, batch_size=32, weight_decay=0.01),
        run=train_segformer,
        data=DATA,
        minutes=2.0,
        expected="mean IoU 0.94 on held-out scenes",
        not_offered=NOT_OFFERED,
    ),
    "segformer-b0": Preset(
        about="SegFormer-B0 of the paper: 4 stages, 32 to 256 wide, here on drawn scenes",
        shape=SegFormerConfig(),
        training=SceneTraining(
            steps=160_000, batch_size=16, optimizer="adamw", learning_rate=6e-5, weight_decay=0.01, size=512
        ),
        run=train_segformer,
        data=DATA,
        not_offered=NOT_OFFERED,
    ),
}
