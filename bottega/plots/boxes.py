"""Pictures with the boxes that stand in them and those that were found, and where was looked for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bottega.plots.curves import COLOURS
from bottega.plots.figure import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]

ACROSS = 4  # scenes in a row
_SIDE = 2.3  # inches of a panel


@dataclass(frozen=True)
class BoxedPicture:
    """A picture (3, height, width) in [0, 1], its true boxes, and what was found with a label for each.

    Boxes are (n, 4): centre x, centre y, width, height in shares of the picture. `attention` (found, rows,
    columns) says how much was looked at each place for what was found; None: it is not drawn.
    """

    pixels: Floats
    true: Floats
    found: Floats
    labels: Sequence[str]
    attention: Floats | None = None


def draw_boxes(pictures: Sequence[BoxedPicture], out: Path) -> None:
    """Draw every picture with its true boxes dashed and those found in colours; below it the attention.

    Raises InputError where `out` has no ending of a picture.
    """
    from matplotlib.figure import Figure

    panels = 1 if pictures[0].attention is None else 2
    across = min(ACROSS, len(pictures))
    down = -(-len(pictures) // across) * panels
    figure = Figure((_SIDE * across, _SIDE * down), 100, layout="constrained")
    axes = figure.subplots(down, across, squeeze=False)
    for one in axes.flat:
        one.axis("off")
    for i, picture in enumerate(pictures):
        row, column = i // across * panels, i % across
        _draw_picture(axes[row, column], picture)
        if picture.attention is not None:
            _draw_attention(axes[row + 1, column], picture.pixels, picture.attention)
    save_figure(figure, out)


def _draw_picture(axes: Axes, picture: BoxedPicture) -> None:
    from matplotlib.patches import Rectangle

    _, height, width = picture.pixels.shape
    axes.imshow(np.moveaxis(picture.pixels, 0, -1), extent=(0, 1, 1, 0), aspect=height / width)

    def outline(box: Floats, colour: str, line: str) -> tuple[float, float]:
        x, y, w, h = box.tolist()
        edge = Rectangle((x - w / 2, y - h / 2), w, h, fill=False, edgecolor=colour, linestyle=line, lw=1.5)
        axes.add_patch(edge)
        return x - w / 2, y - h / 2

    for box in picture.true:
        outline(box, "black", "-")
        outline(box, "white", "--")  # seen on any background
    for box, label, colour in zip(picture.found, picture.labels, COLOURS * len(picture.labels), strict=False):
        x, y = outline(box, colour, "-")
        style = {"facecolor": colour, "edgecolor": "none", "pad": 1.0}
        axes.text(x, y, label, fontsize=6, color="w", va="bottom", bbox=style, clip_on=True)


def _draw_attention(axes: Axes, pixels: Floats, attention: Floats) -> None:
    """The picture in pale grey, and on it, in the colour of each box, where was looked for it."""
    from matplotlib.colors import to_rgba

    _, height, width = pixels.shape
    share = height / width
    axes.imshow(0.7 + 0.3 * pixels.mean(0), extent=(0, 1, 1, 0), aspect=share, cmap="gray", vmin=0, vmax=1)
    for table, colour in zip(attention, COLOURS * len(attention), strict=False):
        layer = np.tile(np.array(to_rgba(colour)), (*table.shape, 1))
        layer[..., 3] = table / max(table.max(), 1e-12)
        axes.imshow(layer, extent=(0, 1, 1, 0), aspect=share, interpolation="nearest")
