"""Heat over pictures: how much of something lies on each patch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COLOUR = np.array([234, 88, 12], np.float32)[:, None, None] / 255  # the attention page's
STRONGEST = 0.85  # opacity of the largest share


def overlaid(pictures: NDArray[np.floating], heat: NDArray[np.floating]) -> NDArray[np.floating]:
    """Pictures (n, channels, height, width) in [0, 1] under heat (n, rows, columns), in three channels.

    A patch is the more coloured the larger its heat, by the square root and next to the largest in the same
    picture. Rows and columns divide the sides.
    """
    n, _, height, width = pictures.shape
    share = heat / np.maximum(heat.max((1, 2), keepdims=True), 1e-12)
    wide = share.repeat(height // heat.shape[1], 1).repeat(width // heat.shape[2], 2)
    opacity = STRONGEST * np.sqrt(wide)[:, None]
    return (1 - opacity) * np.broadcast_to(pictures, (n, 3, height, width)) + opacity * COLOUR
