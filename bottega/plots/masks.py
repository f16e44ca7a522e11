"""Pictures with what their pixels show: drawn scenes with boxes and captions, and masks beside the truth."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bottega.plots.figure import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

ACROSS = 3  # scenes in a row
_SIDE = 1.3  # inches of a panel
_WORDS = 54  # characters in a line of a caption


def palette(n_class: int) -> NDArray[np.float32]:
    """A colour for each class, (n_class, 3) in [0, 1]; the first is dark grey."""
    from matplotlib import colormaps

    few = n_class <= 11
    table = colormaps["tab10"] if few else colormaps["hsv"]
    colours = [table(i if few else i / n_class)[:3] for i in range(n_class - 1)]
    return np.array([(0.2, 0.2, 0.2), *colours], np.float32)


def draw_masks(
    pictures: NDArray[np.floating],
    truth: NDArray[np.integer] | None,
    guess: NDArray[np.integer],
    classes: Sequence[str],
    out: Path,
) -> None:
    """Draw pictures (n, 3, height, width) in [0, 1], under each its true mask, if known, and the guessed one.

    Masks are (n, height, width) numbers of `classes`, whose colours the legend tells. Raises InputError where
    `out` has no ending of a picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    colours = palette(len(classes))
    rows = {"picture": np.moveaxis(pictures, 1, -1)}
    if truth is not None:
        rows["truth"] = colours[truth]
    rows["prediction"] = colours[guess]
    n = len(pictures)
    figure = Figure((_SIDE * n + 0.8, _SIDE * len(rows) + 0.5), 100, layout="constrained")
    panels = figure.subplots(len(rows), n, squeeze=False)
    for line, (name, shown) in zip(panels, rows.items(), strict=True):
        for axes, picture in zip(line, shown, strict=True):
            _plain(axes, picture)
        line[0].set_ylabel(name)
    seen = set(np.unique(guess)) | (set() if truth is None else set(np.unique(truth)))
    handles = [Patch(color=colours[i], label=name) for i, name in enumerate(classes) if i in seen]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 7), frameon=False)
    save_figure(figure, out)


def draw_scenes(
    pictures: NDArray[np.uint8],
    boxes: NDArray[np.floating],
    masks: NDArray[np.integer],
    captions: Sequence[str],
    classes: Sequence[str],
    out: Path,
) -> None:
    """Draw pictures (n, 3, height, width) with their boxes and captions, and beside each its mask.

    `boxes` (n, places, 4) are x0, y0, x1, y1 in pixels, empty ones left out. Raises InputError where `out`
    has no ending of a picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    colours = palette(len(classes))
    across = min(ACROSS, len(pictures))
    down = -(-len(pictures) // across)
    figure = Figure((3.1 * across, 1.95 * down), 100)
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.4 / (1.95 * down), 0.04, 0.3)
    panels = figure.subplots(down, across, squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    gap = np.ones((pictures.shape[2], max(1, pictures.shape[3] // 16), 3))
    for axes, picture, mask, some, caption in zip(
        panels.flat, pictures, masks, boxes, captions, strict=False
    ):
        axes.imshow(
            np.hstack([np.moveaxis(picture, 0, -1) / 255, gap, colours[mask]]), interpolation="nearest"
        )
        for x0, y0, x1, y1 in some[some[:, 2] > some[:, 0]].tolist():
            for colour, line in (("black", "-"), ("white", "--")):  # seen on any background
                box = Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, ls=line, ec=colour)
                axes.add_patch(box)
        axes.set_title("\n".join(textwrap.wrap(caption, _WORDS)), fontsize=7.5)
    save_figure(figure, out)


def _plain(axes: Axes, picture: NDArray[np.generic]) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
