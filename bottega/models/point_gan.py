"""A GAN over points: the game of `gan.py`, small enough to be held against its theory.

In one dimension D can be drawn beside the best there is, D* = p_data / (p_data + p_g) (Goodfellow et al.,
figure 1); in two one sees which modes of the data the generator has found.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.folders import read_model, write_model
from bottega.models.gan import (
    Batch,
    Dense,
    Discriminator,
    Optimizes,
    algorithm_1,
    check_counts,
    drawn,
    judging,
    made,
)
from bottega.nn.loss import Loss


@dataclass(frozen=True)
class PointGANConfig:
    """A GAN over points: their dimensions, the noise's, the networks' hidden layers, and the game.

    Raises InputError where a value makes no sense.
    """

    dimensions: int = 2
    latent: int = 2
    """Numbers of noise, each from N(0, 1)."""
    hidden: int = 128
    """Units of each hidden layer."""
    n_layer: int = 3
    """Hidden layers of each network."""
    k: int = 1
    """Updates of the discriminator for each of the generator; batch_size is k minibatches."""
    saturating: bool = False
    """Whether the generator descends log(1 - D) rather than -log D."""

    def __post_init__(self) -> None:
        check_counts(self, "dimensions", "latent", "hidden", "n_layer", "k")


class PointGAN(nn.Module):
    """Two dense networks at play over batches of {"points": (rows, dimensions)}."""

    MODEL_TYPE = "bottega-point-gan"

    def __init__(self, config: PointGANConfig) -> None:
        super().__init__()
        self.config = c = config
        self.generator = Dense([c.latent, *[c.hidden] * c.n_layer, c.dimensions])
        self.discriminator = Discriminator(c.dimensions, c.hidden, c.n_layer, 0.0)

    def noise(self, n: int) -> Float[Tensor, "n latent"]:
        """z ~ N(0, I)."""
        return torch.randn(n, self.config.latent, device=next(self.parameters()).device)

    def step(self, batch: Batch, ctx: Optimizes) -> Loss:
        """One iteration of algorithm 1; raises InputError where the points are not of the model's space."""
        points = self._checked(batch["points"])
        return algorithm_1(self, points, ctx, self.config.k, self.config.saturating)

    def sample(self, n: int, seed: int = 0) -> Float[Tensor, "n dimensions"]:
        """Points of p_g; the same seed gives the same."""
        return made(self.generator, drawn(n, self.config.latent, seed))

    def realness(self, points: Float[Tensor, "n dimensions"]) -> Float[Tensor, " n"]:
        """D(x): with which probability each point is real."""
        with judging(self.discriminator):
            return self.discriminator(self._checked(points)).float().sigmoid()

    def _checked(self, points: Tensor) -> Tensor:
        if points.dim() != 2 or points.shape[1] != self.config.dimensions:
            raise InputError(
                f"points of shape {tuple(points.shape)}; this GAN expects (rows, {self.config.dimensions})"
            )
        return points

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors."""
        write_model(folder, self.MODEL_TYPE, self.config, self.state_dict())

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> PointGAN:
        """Load a folder; InputError where it is damaged or holds another kind of model."""
        return read_model(folder, cls.MODEL_TYPE, PointGANConfig, cls)
