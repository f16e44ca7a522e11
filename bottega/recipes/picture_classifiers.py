"""Classifiers of pictures as presets: a small convolutional network, and the Vision Transformer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottega.models.cnn import CNNConfig
from bottega.recipes.pictures import DATA, SHAPE, VALIDATION_ROWS, PictureTraining, train_pictures
from bottega.recipes.preset import Preset
from bottega.training.events import Listener
from bottega.training.validation import HeldOut


@dataclass(frozen=True)
class ClassifierTraining(PictureTraining):
    """A run's options, and how far its pictures are moved about."""

    shift: int = 0
    """Pixels by which a picture is moved at most, at random, whenever it is shown: more pictures of few."""


def train_classifier(
    shape: Any, data: tuple[str, ...], out: Path, training: ClassifierTraining, on_event: Listener | None
) -> str:
    """Train a classifier of this shape on pictures with labels, and say what share it gets right.

    Raises what `train_pictures` raises, and InputError where the pictures have no labels or but one.
    """
    trained = train_pictures(
        lambda sized: sized.build(),
        shape,
        data,
        out,
        training,
        on_event,
        shift=training.shift,
        validation=lambda unseen: HeldOut(lambda: unseen.in_order(VALIDATION_ROWS), metrics=("accuracy",)),
    )
    return trained.line


_NOT_OFFERED = (*SHAPE, "classes")

PRESETS: dict[str, Preset] = {
    "cnn": Preset(
        about="a small convolutional network (LeCun et al. 1998, in today's parts)",
        shape=CNNConfig(),
        training=ClassifierTraining(
            steps=4000, batch_size=128, optimizer="adamw", learning_rate=2e-3, weight_decay=0.05
        ),
        run=train_classifier,
        data=DATA,
        not_offered=_NOT_OFFERED,
    ),
}
