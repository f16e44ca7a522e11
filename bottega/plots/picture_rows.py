"""Figures made of pictures: rows with their names, and how a run's pictures changed while it learnt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bottega.plots.figure import save_figure
from bottega.plots.grid import grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_STEPS = 6  # grids side by side


def centred(filters: NDArray[np.floating]) -> NDArray[np.floating]:
    """Filters (n, channels, height, width) as pictures in [0, 1]: ½ is 0, each on a scale of its own."""
    largest = np.abs(filters).max((1, 2, 3), keepdims=True)
    return 0.5 + 0.5 * filters / np.maximum(largest, 1e-12)


def draw_rows(rows: Mapping[str, NDArray[np.floating]], out: Path) -> None:
    """Draw rows of equally many pictures, (n, channels, height, width) in [0, 1], each with its name."""
    from matplotlib.figure import Figure

    n, _, height, width = next(iter(rows.values())).shape
    across = max(3.0, min(14.0, 0.55 * n))
    names = 0.5 + 0.09 * max(len(line) for name in rows for line in name.split("\n"))  # inches beside them
    figure = Figure((across + names, 0.25 + across / n * (height / width) * len(rows)), 110)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, (name, pictures) in zip(panels, rows.items(), strict=True):
        axes.imshow(np.asarray(grid(pictures, columns=n, scale=4)), cmap="gray", vmin=0, vmax=255)
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    save_figure(figure, out)


def draw_steps(grids: Mapping[str, Image.Image], out: Path) -> None:
    """Draw grids side by side, each under its title; of more than six some between the first and the last."""
    from matplotlib.figure import Figure

    titles = list(grids)
    if len(titles) > MOST_STEPS:
        chosen = np.linspace(0, len(titles) - 1, MOST_STEPS).round().astype(int)
        titles = [titles[i] for i in chosen]
    shown = [np.asarray(grids[title]) for title in titles]
    tallest = max(page.shape[0] / page.shape[1] for page in shown)
    figure = Figure((2.4 * len(titles), 2.4 * tallest + 0.3), 110, layout="constrained")
    panels = figure.subplots(1, len(titles), squeeze=False)[0]
    for axes, title, page in zip(panels, titles, shown, strict=True):
        axes.imshow(page, cmap="gray", vmin=0, vmax=255)
        axes.set_title(title, fontsize=10)
        axes.axis("off")
    save_figure(figure, out)
