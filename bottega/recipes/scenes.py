"""SegFormer as a preset: it learns from scenes drawn while it learns, and is measured by mean IoU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from bottega.data.disk import disk_errors
from bottega.data.scene_batches import SceneBatches
from bottega.data.scenes import SHAPES, SceneConfig
from bottega.errors import InputError
from bottega.evaluation.segmentation import measure_segmentation
from bottega.models.segformer import SegFormer, SegFormerConfig
from bottega.plots.masks import draw_masks
from bottega.recipes.preset import Preset
from bottega.training.config import TrainingConfig
from bottega.training.distributed import local_device, world_from_environment
from bottega.training.events import Listener
from bottega.training.loop import Sample, train
from bottega.training.validation import HeldOut

SCENES = ("scenes", "embedded")  # two words for the one source
CLASSES = ("background", *SHAPES)  # of a pixel, in the order of the masks' numbers
VALIDATED, MEASURED = 500, 2000  # held-out scenes during the run, and at its end
SHOWN = 8
_ROWS = 100


@dataclass(frozen=True)
class SceneTraining(TrainingConfig):
    """A run's options, and what its scenes are like."""

    size: int = 64
    """Pixels of a side of the pictures."""
    min_objects: int = 1
    max_objects: int = 4

    @property
    def scenes(self) -> SceneConfig:
        """What is drawn; raises InputError for what cannot be."""
        return SceneConfig(self.size, self.min_objects, self.max_objects)


def train_segformer(
    shape: SegFormerConfig,
    data: tuple[str, ...],
    out: Path,
    training: SceneTraining,
    on_event: Listener | None,
) -> str:
    """Train a SegFormer on drawn scenes, with mean IoU at each validation and at the end.

    Held-out scenes with what it takes their pixels for go to `out/samples`. Raises what `train` raises, and
    InputError where `data` is anything else.
    """
    if world_from_environment().size > 1:
        raise InputError("SegFormer is trained by one process here; start it without torchrun")
    if len(data) != 1 or data[0] not in SCENES:
        words = " or ".join(SCENES)
        raise InputError(f"--data {' '.join(data)}: SegFormer learns from drawn scenes; give {words}")
    scenes = training.scenes
    batches = SceneBatches(scenes, training.batch_size, training.seed)
    shape = replace(shape, channels=3, height=scenes.size, width=scenes.size, n_class=len(CLASSES))
    torch.manual_seed(training.seed)
    with local_device():
        model = SegFormer(shape, CLASSES)
    held_out = partial(batches.in_order, VALIDATED, _ROWS)
    nats = HeldOut(held_out)

    def validate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, SegFormer)
        return {**nats(model), "mean_iou": measure_segmentation(model, held_out()).mean_iou}

    result = train(
        model,
        batches,
        out,
        training,
        validation=validate,
        sample=_gallery(out, next(batches.in_order(SHOWN, SHOWN))),
        on_event=on_event,
    )
    reached = measure_segmentation(model.eval(), batches.in_order(MEASURED, _ROWS))
    of_class = ", ".join(f"{name} {value:.3f}" for name, value in zip(CLASSES, reached.iou, strict=True))
    line = f"{result.checkpoint}: {result.step:,} steps, {result.step * training.batch_size:,} scenes"
    return f"{line}; mean IoU {reached.mean_iou:.4f} on {MEASURED:,} held-out scenes ({of_class})"


def _gallery(out: Path, batch: Mapping[str, Tensor]) -> Sample:
    """What draws the first held-out scenes into `out/samples/step-N.png`."""

    def draw(model: nn.Module, step: int) -> str:
        assert isinstance(model, SegFormer)
        file = out / "samples" / f"step-{step:06d}.png"
        guess = model.segment(batch["pictures"]).numpy()
        with disk_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            draw_masks(batch["pictures"].numpy(), batch["masks"].numpy(), guess, model.classes, file)
        return f"drawn: {file}"

    return draw


_NOT_OFFERED = ("channels", "height", "width", "n_class")

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
        data="scenes (embedded means the same): shapes drawn while it learns",
        minutes=2.0,
        expected="mean IoU 0.94 on held-out scenes",
        not_offered=_NOT_OFFERED,
    ),
    "segformer-b0": Preset(
        about="SegFormer-B0 of the paper: 4 stages, 32 to 256 wide, here on drawn scenes",
        shape=SegFormerConfig(),
        training=SceneTraining(
            steps=160_000, batch_size=16, optimizer="adamw", learning_rate=6e-5, weight_decay=0.01, size=512
        ),
        run=train_segformer,
        data="scenes (embedded means the same): shapes drawn while it learns",
        not_offered=_NOT_OFFERED,
    ),
}
