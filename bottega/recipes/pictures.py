"""What all models of pictures share on their way: the data, the loop, and a grid of pictures to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bottega.data.disk import disk_errors
from bottega.data.picture_batches import PictureBatches
from bottega.data.picture_files import save_picture
from bottega.data.pictures import NO_LABEL, Pictures, open_pictures
from bottega.errors import InputError
from bottega.models.abilities import ReconstructsPictures, SamplesPictures
from bottega.plots.grid import grid
from bottega.training.config import TrainingConfig
from bottega.training.distributed import local_device, world_from_environment
from bottega.training.events import Listener, Notice
from bottega.training.loop import Result, Sample, train
from bottega.training.validation import HeldOut, Validation

DATA = "embedded, mnist, a .npz file, or a folder of pictures"
SHAPE = ("channels", "height", "width")  # fields of every shape that follow from the data
SHOWN = 64  # pictures in a grid
VALIDATION_ROWS = 500


@dataclass(frozen=True)
class PictureTraining(TrainingConfig):
    """A run's options, and how its pictures are prepared."""

    size: int | None = None
    """Resize the pictures to a square of so many pixels a side; None: they stay as they are."""
    grey: bool = False
    """Take the colours out."""


@dataclass(frozen=True)
class Trained:
    """A run's end: its model, in fp32, and the pictures that it did and did not see."""

    result: Result
    model: Any
    training: Pictures
    held_out: Pictures

    @property
    def line(self) -> str:
        """What to print: where the model is, how long it learnt, what it reached."""
        values = "".join(f", held-out {name} {value:.4f}" for name, value in self.result.validation.items())
        return f"{self.result.checkpoint}: {self.result.step:,} steps of pictures{values}"


def train_pictures(
    make: Callable[[Any], nn.Module],
    shape: Any,
    data: tuple[str, ...],
    out: Path,
    training: PictureTraining,
    on_event: Listener | None,
    *,
    binary: bool = False,
    shift: int = 0,
    validation: Callable[[PictureBatches], Validation] | None = None,
) -> Trained:
    """Train what `make` makes of `shape`, once the shape knows the pictures in `data`.

    `binary` and `shift`: see `PictureBatches`. What is validated, on batches of the held-out pictures, is by
    default the model's loss, where it has one. At each validation a grid of pictures goes to `out/samples`.
    Raises what `open_pictures`, `fitted` and `train` raise.
    """
    if world_from_environment().size > 1:
        raise InputError("models of pictures are trained by one process here; start it without torchrun")

    def say(text: str) -> None:
        if on_event is not None:
            on_event(Notice(text))

    taught, held = open_pictures(data, training.size, training.grey, report=say)
    say(f"{len(taught):,} pictures of {'×'.join(map(str, taught.shape))} to train on, {len(held):,} held out")
    shape = fitted(shape, taught)
    torch.manual_seed(training.seed)
    with local_device():
        model = make(shape)
    unseen = PictureBatches(held, min(VALIDATION_ROWS, len(held)), binary=binary) if len(held) else None
    checks: Validation | None = None
    if unseen is not None and validation is not None:
        checks = validation(unseen)
    elif unseen is not None and hasattr(model, "loss"):
        checks = HeldOut(lambda: unseen.in_order(VALIDATION_ROWS))
    shown = torch.from_numpy((held if len(held) else taught).floats(slice(SHOWN // 2)))
    result = train(
        model,
        PictureBatches(taught, training.batch_size, training.seed, binary, shift),
        out,
        training,
        validation=checks,
        sample=gallery(out, model, shown),
        on_event=on_event,
    )
    return Trained(result, model, taught, held)


def fitted(shape: Any, pictures: Pictures) -> Any:
    """The shape with the pictures' size and, where it has classes to tell apart, with theirs.

    Raises InputError where it needs classes and the pictures have no labels, or are all of one class.
    """
    fields: dict[str, Any] = dict(zip(SHAPE, pictures.shape, strict=True))
    if hasattr(shape, "classes"):
        if (pictures.labels == NO_LABEL).any():
            raise InputError(
                "the pictures have no labels, and a classifier learns from labels; give a folder with a "
                "subfolder a class, or an .npz file with `labels` beside its `images`"
            )
        present = {pictures.classes[number] for number in set(pictures.labels.tolist())}
        if len(present) < 2:
            raise InputError(
                f"all pictures are of one class, {present.pop()!r}; a classifier needs two or more"
            )
        fields["classes"] = pictures.classes
    return replace(shape, **fields)


def gallery(out: Path, model: nn.Module, pictures: Tensor) -> Sample | None:
    """What draws the progress of a run into `out/samples/step-N.png`: samples, or else reconstructions.

    The same noise is used at each step, so that the pictures of a run can be joined to a film. None for a
    model that draws nothing.
    """
    if not isinstance(model, SamplesPictures | ReconstructsPictures):
        return None

    def draw(model: nn.Module, step: int) -> str:
        if isinstance(model, SamplesPictures):
            drawn = model.sample(SHOWN)
        else:
            assert isinstance(model, ReconstructsPictures)
            device = next(model.parameters()).device
            again = model.reconstruct(pictures.to(device)).cpu()
            drawn = torch.stack([pictures, again], 1).flatten(0, 1)
        file = out / "samples" / f"step-{step:06d}.png"
        with disk_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        save_picture(grid(drawn.float().cpu().numpy()), file)
        return f"drawn: {file}"

    return draw
