"""Toy distributions over points whose density is known: mixtures of Gaussians on a circle and on a line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bottega.errors import InputError

Points = NDArray[np.float32]


@dataclass(frozen=True)
class Toy:
    """A mixture of Gaussians of one deviation in all directions; every mean weighs the same.

    `means` (modes, dimensions). Raises InputError where there is none, or the deviation is not above 0.
    """

    name: str
    means: NDArray[np.float64]
    deviation: float

    def __post_init__(self) -> None:
        if self.means.ndim != 2 or not self.means.size or not np.isfinite(self.means).all():
            raise InputError(f"means of shape {self.means.shape}; expected finite ones, (modes, dimensions)")
        if not 0 < self.deviation < math.inf:
            raise InputError(f"the deviation of a mode must be above 0, not {self.deviation}")

    @property
    def dimensions(self) -> int:
        """Of each point."""
        return self.means.shape[1]

    def draw(self, n: int, generator: np.random.Generator) -> Points:
        """Draw points (n, dimensions)."""
        noise = generator.normal(0.0, self.deviation, (n, self.dimensions))
        return (self.means[generator.integers(len(self.means), size=n)] + noise).astype(np.float32)

    def density(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Of each point (n, dimensions) the density (n,)."""
        squares = ((points[:, None] - self.means) ** 2).sum(2) / self.deviation**2
        scale = (2 * math.pi * self.deviation**2) ** (self.dimensions / 2)
        found: NDArray[np.float64] = np.exp(-squares / 2).mean(1) / scale
        return found


def ring(modes: int = 8, radius: float = 2.0, deviation: float = 0.1) -> Toy:
    """Gaussians evenly on a circle."""
    if modes < 1:
        raise InputError(f"a ring needs 1 mode or more, not {modes}")
    angles = 2 * math.pi * np.arange(modes) / modes
    return Toy("ring", radius * np.stack([np.cos(angles), np.sin(angles)], 1), deviation)


def line(mean: float = 4.0, deviation: float = 0.5) -> Toy:
    """One Gaussian on a line, as in figure 1 of Goodfellow et al. (2014)."""
    return Toy("line", np.array([[mean]]), deviation)


def two(distance: float = 4.0, deviation: float = 0.5) -> Toy:
    """Two Gaussians on a line."""
    return Toy("two", np.array([[-distance / 2], [distance / 2]]), deviation)


def open_toy(name: str) -> Toy:
    """The toy of that name; InputError where there is none."""
    toys = {toy.name: toy for toy in (ring(), line(), two())}
    if name not in toys:
        raise InputError(f"{name}: no toy of that name; expected one of {', '.join(toys)}")
    return toys[name]


class ToyBatches:
    """Batches {"points": (batch, dimensions)}, drawn by the seed and the step: the cursor is one integer."""

    def __init__(self, toy: Toy, batch_size: int, seed: int = 0) -> None:
        self.toy, self.batch_size, self.seed = toy, batch_size, seed
        self.step = 0

    def next_batch(self) -> dict[str, Tensor]:
        """The batch of this step."""
        generator = np.random.Generator(np.random.Philox(key=np.array([self.seed, self.step], np.uint64)))
        self.step += 1
        return {"points": torch.from_numpy(self.toy.draw(self.batch_size, generator))}

    def state_dict(self) -> dict[str, Any]:
        """The cursor."""
        return {"step": self.step, "seed": self.seed, "toy": self.toy.name}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go where the cursor says; InputError where it is of another toy."""
        here = self.state_dict() | {"step": state.get("step")}
        if state != here:
            raise InputError(f"the run was begun on other data ({state}, now {here}); give the same --data")
        self.step = int(state["step"])
