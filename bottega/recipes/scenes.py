"""What models of drawn scenes share on their way: the scenes, the loop, a measure, pictures to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bottega.data.disk import disk_errors
from bottega.data.scene_batches import SceneBatches
from bottega.data.scenes import SceneConfig
from bottega.errors import InputError
from bottega.training.config import TrainingConfig
from bottega.training.context import Batch
from bottega.training.distributed import local_device, world_from_environment
from bottega.training.events import Listener
from bottega.training.loop import train
from bottega.training.validation import HeldOut

DATA = "scenes (embedded means the same): shapes drawn while it learns"
NOT_OFFERED = ("channels", "height", "width", "n_class")  # they follow from the scenes
SCENES = ("scenes", "embedded")  # two words for the one source
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


@dataclass(frozen=True)
class SceneTask:
    """What a model does with scenes: by what it is measured, and how its work is drawn."""

    metric: str
    """The name of the measure, `mean IoU`."""
    classes: Sequence[str]
    measure: Callable[[Any, Iterable[Batch]], tuple[float, Sequence[float]]]
    """From a model and batches of scenes: the measure over all, and that of each class."""
    draw: Callable[[Any, Batch, Path], None]
    """Draw a model's work on a batch into a file."""


def train_on_scenes(
    task: SceneTask,
    make: Callable[[], nn.Module],
    data: tuple[str, ...],
    out: Path,
    training: SceneTraining,
    on_event: Listener | None,
) -> str:
    """Train what `make` makes on scenes drawn as they are asked for, and say what it reaches at the end.

    Held-out scenes are measured at each validation, and the first of them drawn into `out/samples`. Raises
    what `train` raises, and InputError where `data` is anything else than scenes.
    """
    if world_from_environment().size > 1:
        raise InputError("models of scenes are trained by one process here; start it without torchrun")
    if len(data) != 1 or data[0] not in SCENES:
        raise InputError(
            f"--data {' '.join(data)}: this model learns from drawn scenes; give {' or '.join(SCENES)}"
        )
    batches = SceneBatches(training.scenes, training.batch_size, training.seed)
    torch.manual_seed(training.seed)
    with local_device():
        model = make()
    held_out = partial(batches.in_order, VALIDATED, _ROWS)
    nats = HeldOut(held_out)
    shown = next(batches.in_order(SHOWN, SHOWN))
    key = task.metric.lower().replace(" ", "_")

    def validate(model: nn.Module) -> dict[str, float]:
        return {**nats(model), key: task.measure(model, held_out())[0]}

    def draw(model: nn.Module, step: int) -> str:
        file = out / "samples" / f"step-{step:06d}.png"
        with disk_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            task.draw(model, shown, file)
        return f"drawn: {file}"

    result = train(model, batches, out, training, validation=validate, sample=draw, on_event=on_event)
    reached, of_class = task.measure(model.eval(), batches.in_order(MEASURED, _ROWS))
    each = ", ".join(f"{name} {value:.3f}" for name, value in zip(task.classes, of_class, strict=True))
    line = f"{result.checkpoint}: {result.step:,} steps, {result.step * training.batch_size:,} scenes"
    return f"{line}; {task.metric} {reached:.4f} on {MEASURED:,} held-out scenes ({each})"
