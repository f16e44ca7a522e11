"""Autoencoders as presets: dense, convolutional, linear and denoising."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bottega.models.autoencoder import Autoencoder, AutoencoderConfig
from bottega.recipes.pictures import DATA, SHAPE, VALIDATION_ROWS, PictureTraining, train_pictures
from bottega.recipes.preset import Preset
from bottega.training.events import Listener
from bottega.training.validation import HeldOut


def train_autoencoder(
    shape: AutoencoderConfig,
    data: tuple[str, ...],
    out: Path,
    training: PictureTraining,
    on_event: Listener | None,
) -> str:
    """Train an autoencoder of this shape on pictures, and say how far off held-out ones come back.

    Raises what `train_pictures` raises.
    """
    trained = train_pictures(
        Autoencoder,
        shape,
        data,
        out,
        training,
        on_event,
        validation=lambda unseen: HeldOut(lambda: unseen.in_order(VALIDATION_ROWS), metrics=("squared",)),
    )
    return f"{trained.line} (the squared distance of a picture)"


_TRAINING = PictureTraining(
    steps=5_000,
    batch_size=128,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.0,
    beta2=0.99,
    clip=0.0,  # a sum over all pixels: its gradient is long, and Adam's step does not depend on that
    decay_fraction=0.5,
)


def _preset(
    about: str,
    shape: AutoencoderConfig,
    minutes: float,
    squared: float,
    training: PictureTraining = _TRAINING,
) -> Preset:
    return Preset(
        about=about,
        shape=shape,
        training=training,
        run=train_autoencoder,
        data=DATA,
        minutes=minutes,
        expected=f"squared distance {squared} of a held-out picture, on mnist",
        not_offered=SHAPE,
    )


PRESETS: dict[str, Preset] = {
    "autoencoder": _preset("a deep autoencoder with a code of 32", AutoencoderConfig(), 0.7, 4.2),
    "autoencoder-conv": _preset(
        "a convolutional autoencoder", AutoencoderConfig(network="convolutional", hidden=32), 1.8, 3.2
    ),
    "autoencoder-linear": _preset(
        "a linear autoencoder: the subspace of the principal components",
        AutoencoderConfig(n_layer=0, error="squared"),
        0.2,
        13.2,
        replace(_TRAINING, precision="fp32"),  # the last digits tell it from PCA's subspace
    ),
    "autoencoder-denoising": _preset(
        "an autoencoder that takes noise out (Vincent et al. 2008)",
        AutoencoderConfig(noise="gaussian", level=0.5),
        0.7,
        9.7,
    ),
}
