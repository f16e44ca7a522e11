"""How a Transformer is told where a token stands: the tables side by side, and what they say of distance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottega.plots.figure import save_figure

Table = NDArray[np.floating]


def draw_positions(tables: Mapping[str, Table], products: Mapping[str, Table], out: Path) -> None:
    """Draw each table (position × channel) above the products of its positions, into a PNG, SVG or PDF file.

    `products` (position × position) say how alike two positions are for attention; each is drawn over its own
    range.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(tables), 6.2), dpi=100, layout="constrained")
    for column, name in enumerate(tables):
        above, below = (figure.add_subplot(2, len(tables), row * len(tables) + column + 1) for row in (0, 1))
        above.imshow(tables[name].T, aspect="auto", origin="lower", cmap="RdBu_r", interpolation="nearest")
        below.imshow(products[name], origin="lower", cmap="viridis", interpolation="nearest")
        above.set_title(name)
        above.set_xlabel("position")
        below.set_xlabel("position")
        if column == 0:
            above.set_ylabel("channel")
            below.set_ylabel("position")
    save_figure(figure, out)
