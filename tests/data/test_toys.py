"""Toy distributions: their density is that of what they draw, and batches follow from seed and step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bottega.data.toys import Toy, ToyBatches, line, open_toy, ring, two
from bottega.errors import InputError


def test_eight_modes_evenly_on_a_circle() -> None:
    toy = ring()
    assert toy.means.shape == (8, 2)
    assert np.allclose(np.linalg.norm(toy.means, axis=1), 2.0)
    distances = np.linalg.norm(toy.means - np.roll(toy.means, 1, 0), axis=1)
    assert np.allclose(distances, distances[0])
    points = toy.draw(8000, np.random.default_rng(0))
    assert points.dtype == np.float32
    nearest = np.linalg.norm(points[:, None] - toy.means, axis=2).argmin(1)
    assert np.bincount(nearest).min() > 850  # 1,000 are due to each
    assert (points - toy.means[nearest]).std() == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("toy", [line(), two()])
def test_the_density_is_that_of_the_draws(toy: Toy) -> None:
    edges = np.linspace(-6, 8, 141)
    x = (edges[1:] + edges[:-1]) / 2
    density = toy.density(x[:, None])
    assert density.sum() * 0.1 == pytest.approx(1.0, abs=1e-6)
    counts, _ = np.histogram(toy.draw(200_000, np.random.default_rng(0))[:, 0], edges)
    assert np.abs(counts / 20_000 - density).max() < 0.02


def test_the_density_on_the_plane_has_mass_1() -> None:
    axis = np.linspace(-3, 3, 301)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    assert ring().density(grid).sum() * 0.02**2 == pytest.approx(1.0, abs=1e-6)


def test_batches_go_by_seed_and_step() -> None:
    first, second, other = (ToyBatches(ring(), 16, seed) for seed in (3, 3, 4))
    batches = [first.next_batch()["points"] for _ in range(4)]
    assert batches[0].shape == (16, 2) and batches[0].dtype == torch.float32
    assert not torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], other.next_batch()["points"])
    second.load_state_dict({**second.state_dict(), "step": 2})
    assert torch.equal(second.next_batch()["points"], batches[2])
    with pytest.raises(InputError, match="other data"):
        ToyBatches(line(), 16, 3).load_state_dict(first.state_dict())


def test_bad_toys() -> None:
    with pytest.raises(InputError, match="expected one of ring, line, two"):
        open_toy("torus")
    with pytest.raises(InputError, match="1 mode or more"):
        ring(0)
    with pytest.raises(InputError, match="above 0, not nan"):
        line(deviation=float("nan"))
    with pytest.raises(InputError, match="finite"):
        Toy("x", np.array([[np.nan]]), 1.0)
