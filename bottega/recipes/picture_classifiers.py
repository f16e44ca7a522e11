"""Classifiers of pictures as presets: a small convolutional network, and the Vision Transformer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottega.models.cnn import CNNConfig
from bottega.models.vit import ViTConfig
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
_NOT_OFFERED_VIT = (*_NOT_OFFERED, "norm_eps", "mean", "std")


def _of_the_paper(about: str, shape: ViTConfig, epochs: int, learning_rate: float) -> Preset:
    """As Dosovitskiy et al. (2021, table 3) trained on the 303 million pictures of JFT-300M."""
    return Preset(
        about=f"{about}, patches of {shape.patch} × {shape.patch}, trained as the paper did",
        shape=shape,
        training=ClassifierTraining(
            steps=epochs * 303_000_000 // 4096,
            batch_size=4096,
            micro_batch_size=32,
            optimizer="adamw",
            learning_rate=learning_rate,
            weight_decay=0.1,
            beta2=0.999,
            warmup_steps=10_000,
            decay_fraction=1.0,  # linear, from the warm-up on
            size=224,
        ),
        run=train_classifier,
        data=DATA,
        not_offered=_NOT_OFFERED_VIT,
    )


PRESETS: dict[str, Preset] = {
    "cnn": Preset(
        about="a small convolutional network (LeCun et al. 1998, in today's parts)",
        shape=CNNConfig(),
        training=ClassifierTraining(
            steps=4000, batch_size=128, optimizer="adamw", learning_rate=2e-3, weight_decay=0.05
        ),
        run=train_classifier,
        data=DATA,
        minutes=2.0,
        expected="99.1 to 99.2 % of MNIST's test pictures right, over three seeds",
        not_offered=_NOT_OFFERED,
    ),
    "vit-tiny": Preset(
        about="Vision Transformer of 4 layers, 96 wide, patches of 4 × 4",
        shape=ViTConfig(1, 28, 28, patch=4, n_layer=4, n_head=4, n_embd=96),
        # Blocks as small as these are no faster compiled, and 64 rows are read faster than 128.
        training=ClassifierTraining(
            steps=8000, batch_size=64, weight_decay=0.05, decay_fraction=1.0, shift=1, compile="off"
        ),
        run=train_classifier,
        data=DATA,
        minutes=10.0,
        expected="98.8 to 98.9 % of MNIST's test pictures right, over three seeds",
        not_offered=_NOT_OFFERED_VIT,
    ),
    "vit-base": _of_the_paper("ViT-Base: 12 layers, 768 wide", ViTConfig(), 7, 8e-4),
    "vit-large": _of_the_paper(
        "ViT-Large: 24 layers, 1024 wide", ViTConfig(n_layer=24, n_head=16, n_embd=1024), 14, 4e-4
    ),
    "vit-huge": _of_the_paper(
        "ViT-Huge: 32 layers, 1280 wide", ViTConfig(patch=14, n_layer=32, n_head=16, n_embd=1280), 14, 3e-4
    ),
}
