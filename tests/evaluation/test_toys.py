"""What is said of a GAN over points, on samplers of which all is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bottega.data.toys import line, ring
from bottega.errors import InputError
from bottega.evaluation.toys import game_on_a_line, modes_of


def test_true_points_find_all_modes_and_lie_near_them() -> None:
    toy = ring()
    modes = modes_of(toy.draw(20_000, np.random.default_rng(0)), toy)
    assert modes.found == 8
    assert modes.near == pytest.approx(1 - np.exp(-4.5), abs=0.003)  # of a Gaussian in the plane


def test_lost_modes_and_far_points_are_told() -> None:
    toy = ring()
    rng = np.random.default_rng(0)
    points = toy.draw(8_000, rng)
    nearest = np.linalg.norm(points[:, None] - toy.means, axis=2).argmin(1)
    assert modes_of(points[nearest != 3], toy).found == 7
    few = np.concatenate([points[nearest != 3], points[nearest == 3][:100]])  # a tenth of what is due
    assert modes_of(few, toy).found == 7
    between = np.concatenate([points, np.zeros((2_000, 2))])
    assert modes_of(between, toy).near == pytest.approx(0.8 * 0.989, abs=0.005)
    for bad, message in ((points[:0], "above 0"), (points[:, :1], "expected"), (points * np.nan, "NaN")):
        with pytest.raises(InputError, match=message):
            modes_of(bad, toy)


class Won:
    """A generator that draws the data, and the discriminator that cannot tell."""

    def __init__(self, mean: float = 4.0, d: float = 0.5) -> None:
        self.mean, self.d = mean, d

    def sample(self, n: int, seed: int = 0) -> torch.Tensor:
        return self.mean + 0.5 * torch.randn(n, 1, generator=torch.Generator().manual_seed(seed))

    def realness(self, points: torch.Tensor) -> torch.Tensor:
        return torch.full((len(points),), self.d)


def test_where_g_has_won_the_best_d_is_a_half() -> None:
    game = game_on_a_line(Won(), line())
    assert game.overlap == pytest.approx(1, abs=0.02)
    assert game.from_half == 0
    assert game.from_best < 0.02
    width = game.x[1] - game.x[0]
    assert game.generator.sum() * width == pytest.approx(1, abs=0.01)


def test_far_from_the_data_the_best_d_knows() -> None:
    game = game_on_a_line(Won(mean=-1.0), line())
    assert game.overlap < 0.01
    assert game.from_best == pytest.approx(0.5, abs=0.01)  # D says ½, the best one 0 or 1
    best = game.best
    assert best[np.abs(game.x - 4).argmin()] > 0.99 and best[np.abs(game.x + 1).argmin()] < 0.01
    assert np.isnan(best[np.abs(game.x - 1.5).argmin()])  # nothing is there to tell apart
    with pytest.raises(InputError, match="2 dimensions"):
        game_on_a_line(Won(), ring())
    with pytest.raises(InputError, match="diverged"):
        game_on_a_line(Won(mean=float("nan")), line())
