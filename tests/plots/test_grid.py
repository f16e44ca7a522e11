"""Grids of small pictures."""

from __future__ import annotations

import numpy as np
import pytest

from bottega.plots.grid import grid


def test_each_picture_stands_in_its_place() -> None:
    levels = np.linspace(0, 1, 6, dtype=np.float32)
    pictures = np.broadcast_to(levels[:, None, None, None], (6, 1, 3, 4))
    page = np.asarray(grid(pictures, columns=4, scale=2))
    assert page.shape == (2 * (3 + 1 + 3), 2 * (4 * 5 - 1))
    for index, level in enumerate(levels):
        row, column = divmod(index, 4)
        block = page[2 * 4 * row : 2 * (4 * row + 3), 2 * 5 * column : 2 * (5 * column + 4)]
        assert (block == round(255 * level)).all()


def test_colours_and_values_beyond_the_range() -> None:
    picture = np.array([-1.0, 0.5, 2.0], np.float32).reshape(1, 3, 1, 1)
    assert np.asarray(grid(picture, scale=1))[0, 0].tolist() == [0, 128, 255]
    with pytest.raises(ValueError, match="2 channels"):
        grid(np.zeros((1, 2, 4, 4)))
