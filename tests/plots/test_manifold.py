"""Codes on a plane, and the square that is decoded beside them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from bottega.errors import InputError
from bottega.plots.manifold import on_plane, square


def test_the_square_is_laid_out_by_quantiles_from_the_top_left() -> None:
    codes = square(3)
    assert codes.shape == (9, 2)
    edge = norm.ppf(5 / 6)
    assert (
        np.allclose(codes[0], [-edge, edge])
        and np.allclose(codes[4], 0)
        and np.allclose(codes[-1], [edge, -edge])
    )
    cells = norm.cdf(codes)  # their middles are spread evenly over the unit square
    assert np.allclose(np.unique(cells[:, 0].round(9)), [1 / 6, 1 / 2, 5 / 6])


def test_the_square_follows_the_mean_and_deviation_of_codes() -> None:
    mean, deviation = np.array([3.0, -1.0]), np.array([2.0, 0.5])
    assert np.allclose(square(4, mean, deviation), square(4) * deviation + mean)


def test_two_numbers_stay_and_more_are_turned_onto_their_principal_components() -> None:
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(50, 2))
    plane, names = on_plane(flat)
    assert plane is flat and names[0] == "first number of the code"
    wide = flat * [5.0, 1.0] @ np.linalg.qr(rng.normal(size=(7, 7)))[0][:2] + 4.0
    plane, names = on_plane(wide)
    distances = [np.linalg.norm(points[:, None] - points[None], axis=-1) for points in (plane, wide)]
    assert np.allclose(*distances)  # two directions are all there is, so none is lost
    share = 25 / 26
    assert names[0].startswith("first principal component of 7 numbers")
    assert int(names[0].split("(")[1].split("%")[0]) == pytest.approx(100 * share, abs=3)


@pytest.mark.parametrize("shape", [(10, 1), (2, 5)])
def test_too_little_for_a_map_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="needs three codes or more, of two numbers or more"):
        on_plane(np.zeros(shape))
