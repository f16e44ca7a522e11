"""DETR as a preset: it learns from scenes that are drawn while it learns, and is measured by AP50."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from bottega.data.disk import disk_errors
from bottega.data.scene_batches import SceneBatches
from bottega.data.scenes import SHAPES
from bottega.errors import InputError
from bottega.evaluation.detection import measure_detection
from bottega.models.detr import DETR, DETRConfig
from bottega.plots.boxes import BoxedPicture, draw_boxes
from bottega.recipes.preset import Preset
from bottega.recipes.scenes import SCENES, SceneTraining
from bottega.training.distributed import local_device, world_from_environment
from bottega.training.events import Listener
from bottega.training.loop import Sample, train
from bottega.training.validation import HeldOut

VALIDATED, MEASURED = 500, 2000  # held-out scenes during the run, and at its end
SHOWN = 8
_ROWS = 250


def train_detr(
    shape: DETRConfig,
    data: tuple[str, ...],
    out: Path,
    training: SceneTraining,
    on_event: Listener | None,
) -> str:
    """Train a DETR on drawn scenes, with AP50 at each validation, and say what it reaches at the end.

    Pictures of held-out scenes with what is found go to `out/samples`. Raises what `train` raises, and
    InputError where `data` is anything else or scenes may hold more objects than there are queries.
    """
    if world_from_environment().size > 1:
        raise InputError("DETR is trained by one process here; start it without torchrun")
    if len(data) != 1 or data[0] not in SCENES:
        raise InputError(f"DETR learns from drawn scenes; give --data scenes, not {' '.join(data)!r}")
    if shape.n_query < training.max_objects:
        raise InputError(
            f"{shape.n_query} queries cannot find {training.max_objects} objects; give more, with --n-query"
        )
    size = training.size
    batches = SceneBatches(training.scenes, training.batch_size, training.seed)
    held_out = [*batches.in_order(VALIDATED, _ROWS)]
    torch.manual_seed(training.seed)
    with local_device():
        model = DETR(replace(shape, channels=3, height=size, width=size, n_class=len(SHAPES)))
    nats = HeldOut(lambda: held_out)

    def validate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, DETR)
        return {**nats(model), "ap50": measure_detection(model, held_out).mean}

    sample = _gallery(out, held_out[0])
    result = train(model, batches, out, training, validation=validate, sample=sample, on_event=on_event)
    reached = measure_detection(model.eval(), batches.in_order(MEASURED, _ROWS))
    of_class = ", ".join(f"{name} {value:.3f}" for name, value in zip(SHAPES, reached.of_class, strict=True))
    line = f"{result.checkpoint}: {result.step:,} steps, {result.step * training.batch_size:,} scenes"
    return f"{line}; AP50 {reached.mean:.4f} on {MEASURED:,} held-out scenes ({of_class})"


def boxed(
    model: DETR, batch: Mapping[str, Tensor], threshold: float = 0.5, attention: bool = False
) -> list[BoxedPicture]:
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


def _gallery(out: Path, batch: Mapping[str, Tensor]) -> Sample:
    """What draws the first held-out scenes into `out/samples/step-N.png`."""
    some = {name: tensor[:SHOWN] for name, tensor in batch.items()}

    def draw(model: nn.Module, step: int) -> str:
        assert isinstance(model, DETR)
        file = out / "samples" / f"step-{step:06d}.png"
        with disk_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            draw_boxes(boxed(model, some), file)
        return f"drawn: {file}"

    return draw


PRESETS: dict[str, Preset] = {
    "detr-tiny": Preset(
        about="DETR of 2 encoder and 3 decoder layers, 128 wide, with 8 queries, for drawn scenes",
        shape=DETRConfig(height=64, width=64, stride=8),
        training=SceneTraining(steps=2000, batch_size=64, learning_rate=1e-3),
        run=train_detr,
        data="scenes (embedded means the same): shapes drawn while it learns",
        expected="AP50 0.990 on 2,000 held-out scenes, after 6 minutes of one core",
        not_offered=("channels", "height", "width", "n_class"),
    ),
}
