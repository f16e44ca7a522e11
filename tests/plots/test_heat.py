"""Heat over pictures: in its place, as strong as it should be."""

from __future__ import annotations

import numpy as np

from bottega.plots.heat import COLOUR, STRONGEST, overlaid


def test_heat_lies_on_its_patch() -> None:
    pictures = np.full((2, 1, 4, 6), 0.5, np.float32)
    heat = np.zeros((2, 2, 3))
    heat[0, 1, 2], heat[1, 0, 0], heat[1, 0, 1] = 0.3, 0.8, 0.2
    drawn = overlaid(pictures, heat)
    assert drawn.shape == (2, 3, 4, 6)
    np.testing.assert_allclose(
        drawn[0, :, 2:, 4:], ((1 - STRONGEST) / 2 + STRONGEST * COLOUR).repeat(2, 1).repeat(2, 2)
    )
    np.testing.assert_allclose(drawn[0, :, :2], 0.5)
    np.testing.assert_allclose(drawn[1, :, 0, 2], 0.5 + STRONGEST / 2 * (COLOUR[:, 0, 0] - 0.5), rtol=1e-6)
