"""Many small pictures as one."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGEST_SIDE = 1024  # pixels that a grid is enlarged to at most
GAP = 1  # pixels between two pictures, before enlarging


def grid(pictures: NDArray[np.floating], columns: int | None = None, scale: int | None = None) -> Image.Image:
    """Lay out pictures (n, channels, height, width) in [0, 1] row by row; one channel is grey, three are RGB.

    `columns` is by default such that the grid is about square. Every pixel becomes `scale` × `scale`, by
    default as many as keep the grid within 1,024 pixels. Values beyond [0, 1] are clipped.
    """
    n, channels, height, width = pictures.shape
    if channels not in (1, 3):
        raise ValueError(f"pictures have {channels} channels; expected 1 or 3")
    columns = columns or math.ceil(math.sqrt(n * height / width))
    rows = math.ceil(n / columns)
    page = np.ones((rows * columns, height + GAP, width + GAP, channels), np.float32)
    page[:n, :height, :width] = np.moveaxis(np.clip(pictures, 0, 1), 1, -1)
    page[n:, :height, :width] = 1.0
    page = page.reshape(rows, columns, height + GAP, width + GAP, channels).swapaxes(1, 2)
    page = page.reshape(rows * (height + GAP), columns * (width + GAP), channels)[:-GAP, :-GAP]
    scale = scale or max(1, LARGEST_SIDE // max(page.shape[:2]))
    pixels = np.round(255 * page).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
