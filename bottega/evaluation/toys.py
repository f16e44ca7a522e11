"""What a GAN over points has learnt, held against the density that it was to learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bottega.data.toys import Toy
from bottega.errors import InputError

Array = NDArray[np.float64]

NEAR = 3.0  # deviations from a mode within which a sample counts as its own
FOUND = 0.25  # of its fair share of all samples near it, and a mode counts as found
SAMPLES = 200_000  # for p_g, which a generator does not tell


class PlaysOnPoints(Protocol):
    """A GAN over points."""

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """Points (n, dimensions) of p_g."""
        ...

    def realness(self, points: Tensor) -> Tensor:
        """D of each point, (n,)."""
        ...


@dataclass(frozen=True)
class Modes:
    """How samples fall on the modes of a toy: `counts` of those near each, of `samples` in all."""

    counts: NDArray[np.int64]
    samples: int

    @property
    def found(self) -> int:
        """Modes near which there are at least a quarter of the samples that are due to it."""
        return int((self.counts >= FOUND * self.samples / len(self.counts)).sum())

    @property
    def near(self) -> float:
        """Share of the samples within three deviations of a mode; of true ones in the plane it is 0.989."""
        return float(self.counts.sum() / self.samples)


def modes_of(points: NDArray[np.floating], toy: Toy) -> Modes:
    """Count the points within three deviations of each mode, each point with the nearest.

    Raises InputError where there are none, or they are not finite or not of the toy's space.
    """
    if points.ndim != 2 or points.shape[1] != toy.dimensions or not len(points):
        raise InputError(f"points of shape {points.shape}; expected (n, {toy.dimensions}) with n above 0")
    if not np.isfinite(points).all():
        raise InputError("the points hold NaN or infinity; the model that drew them has diverged")
    distances = np.linalg.norm(points[:, None] - toy.means, axis=2)
    nearest, near = distances.argmin(1), distances.min(1) <= NEAR * toy.deviation
    return Modes(np.bincount(nearest[near], minlength=len(toy.means)), len(points))


@dataclass(frozen=True)
class Game:
    """The game on a line: at the places `x` the densities, D, and the best D for these densities."""

    x: Array
    data: Array
    """p_data."""
    generator: Array
    """p_g."""
    discriminator: Array
    """D(x)."""

    @property
    def best(self) -> Array:
        """D* = p_data / (p_data + p_g) (Goodfellow et al. 2014, proposition 1); NaN where both are near 0."""
        both = self.data + self.generator
        return np.divide(self.data, both, out=np.full_like(both, np.nan), where=both > 0.01)

    def mean(self, values: Array) -> float:
        """The mean of a function of x where the data and the samples are, half of each."""
        weights = self.data / self.data.sum() + self.generator / max(float(self.generator.sum()), 1e-12)
        return float(np.nansum(weights * values) / weights[~np.isnan(values)].sum())

    @property
    def from_best(self) -> float:
        """The mean of |D - D*|."""
        return self.mean(np.abs(self.discriminator - self.best))

    @property
    def from_half(self) -> float:
        """The mean of |D - ½|: 0 where the generator has won."""
        return self.mean(np.abs(self.discriminator - 0.5))

    @property
    def overlap(self) -> float:
        """The area under both densities, from 0 to 1 where p_g is p_data."""
        return float(np.minimum(self.data, self.generator).sum() * (self.x[1] - self.x[0]))


def game_on_a_line(model: PlaysOnPoints, toy: Toy, seed: int = 0, places: int = 160) -> Game:
    """How the game stands: p_g from 200,000 samples in as many bins as there are places.

    Raises InputError where the toy has more than one dimension.
    """
    if toy.dimensions != 1:
        raise InputError(f"the toy {toy.name} has {toy.dimensions} dimensions; D is drawn over one")
    made = model.sample(SAMPLES, seed).numpy(force=True)[:, 0].astype(np.float64)
    if not np.isfinite(made).all():
        raise InputError("the model draws NaN or infinity: it has diverged")
    margin = 4 * toy.deviation
    low = min(float(toy.means.min()) - margin, float(np.quantile(made, 0.001)) - toy.deviation)
    high = max(float(toy.means.max()) + margin, float(np.quantile(made, 0.999)) + toy.deviation)
    edges = np.linspace(low, high, places + 1)
    x = (edges[1:] + edges[:-1]) / 2
    counts, _ = np.histogram(made, edges)
    d = model.realness(torch.from_numpy(x[:, None]).float()).numpy(force=True).astype(np.float64)
    return Game(x, toy.density(x[:, None]), counts / len(made) / (edges[1] - edges[0]), d)
