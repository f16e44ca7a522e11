"""Variational autoencoders as presets: dense and convolutional, of binary pictures and of grey ones."""

from __future__ import annotations

from pathlib import Path

from bottega.models.vae import VAE, VAEConfig
from bottega.recipes.pictures import DATA, SHAPE, VALIDATION_ROWS, PictureTraining, train_pictures
from bottega.recipes.preset import Preset
from bottega.training.events import Listener
from bottega.training.validation import HeldOut


def train_vae(
    shape: VAEConfig, data: tuple[str, ...], out: Path, training: PictureTraining, on_event: Listener | None
) -> str:
    """Train a VAE of this shape on pictures, binary ones where its decoder is, and say how near its bound is.

    Raises what `train_pictures` raises.
    """
    trained = train_pictures(
        VAE,
        shape,
        data,
        out,
        training,
        on_event,
        binary=shape.decoder == "bernoulli",
        validation=lambda unseen: HeldOut(
            lambda: unseen.in_order(VALIDATION_ROWS), metrics=("reconstruction", "kl")
        ),
    )
    return f"{trained.line} (nats a picture)"


_TRAINING = PictureTraining(
    steps=5_000,
    batch_size=128,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.01,
    beta2=0.99,
    clip=0.0,  # a sum over all pixels: its gradient is long, and Adam's step does not depend on that
    decay_fraction=0.5,
)


def _preset(about: str, shape: VAEConfig, minutes: float, expected: str) -> Preset:
    return Preset(
        about=about,
        shape=shape,
        training=_TRAINING,
        run=train_vae,
        data=DATA,
        minutes=minutes,
        expected=f"{expected}, on mnist",
        not_offered=SHAPE,
    )


PRESETS: dict[str, Preset] = {
    "vae": _preset(
        "a VAE with a code of 50 (Kingma & Welling 2014): log p of binary pictures",
        VAEConfig(),
        0.9,
        "log p of at least -99.1 nats a picture (the bound; with --steps 20000 -93.2)",
    ),
    "vae-2d": _preset(
        "a VAE with a code of 2, whose plane can be drawn",
        VAEConfig(latent=2),
        1.2,
        "log p of at least -139.9 nats a picture (the bound)",
    ),
    "vae-conv": _preset(
        "a convolutional VAE",
        VAEConfig(network="convolutional", hidden=32),
        3.0,
        "log p of at least -98.7 nats a picture (the bound)",
    ),
    "vae-gaussian": _preset(
        "a VAE of grey pictures: a Gaussian decoder",
        VAEConfig(decoder="gaussian"),
        1.2,
        "a log density of at least 590 nats a picture (the bound)",
    ),
}
