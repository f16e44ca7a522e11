"""The picture of an alignment: a square a weight, in its place, and what cannot be drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bottega.errors import InputError
from bottega.plots.alignment import draw_alignment


def drawn(weights: np.ndarray, out: Path) -> np.ndarray:
    draw_alignment(weights, [" one", "$", ""], ["eins", "\n"], out)
    return np.asarray(Image.open(out).convert("L")).astype(int)


def test_every_weight_is_its_square_of_grey(tmp_path: Path) -> None:
    empty = drawn(np.zeros((2, 3)), tmp_path / "empty.png")
    middles = {}
    for at in np.ndindex(2, 3):
        weights = np.zeros((2, 3))
        weights[at] = 0.5
        lit = drawn(weights, tmp_path / "lit.png") - empty
        rows, columns = np.nonzero(lit)
        assert np.median(lit[rows, columns]) == pytest.approx(128, abs=2)
        middles[at] = rows.mean(), columns.mean()
        assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)  # a square
    side = middles[0, 1][1] - middles[0, 0][1]
    for (row, column), middle in middles.items():
        expected = middles[0, 0][0] + row * side, middles[0, 0][1] + column * side
        assert middle == pytest.approx(expected, abs=2)


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do not fit"):
        draw_alignment(np.ones((2, 2)), ["a"], ["b", "c"], tmp_path / "a.png")
    with pytest.raises(InputError, match=r"name a \.png"):
        draw_alignment(np.ones((1, 1)), ["a"], ["b"], tmp_path / "a.nothing")
