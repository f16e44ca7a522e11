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

ACROSS = 8  # pictures in a row
_SIDE = 1.3  # inches of a panel
_WORDS = 24  # characters in a line of a caption


def palette(n_class: int) -> NDArray[np.float32]:
    """A colour for each class, (n_class, 3) in [0, 1]; the first is nearly black."""
    from matplotlib import colormaps

    few = n_class <= 11
    table = colormaps["tab10"] if few else colormaps["hsv"]
    colours = [table(i if few else i / n_class)[:3] for i in range(n_class - 1)]
    return np.array([(0.12, 0.12, 0.12), *colours], np.float32)


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
    """Draw pictures (n, 3, height, width) with their boxes and captions, and under each its mask.

    `boxes` (n, places, 4) are x0, y0, x1, y1 in pixels, empty ones left out. Raises InputError where `out`
    has no ending of a picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    colours = palette(len(classes))
    across = min(ACROSS // 2, len(pictures))
    down = -(-len(pictures) // across)
    figure = Figure((2.1 * across, 2.75 * down), 100, layout="constrained")
    panels = figure.subplots(down, 2 * across, squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    for i, caption in enumerate(captions):
        row, column = divmod(i, across)
        left, right = panels[row, 2 * column : 2 * column + 2]
        _plain(left, np.moveaxis(pictures[i], 0, -1))
        _plain(right, colours[masks[i]])
        for x0, y0, x1, y1 in boxes[i].tolist():
            if x1 > x0:
                for colour, line in (("black", "-"), ("white", "--")):  # seen on any background
                    box = Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, ls=line, ec=colour)
                    left.add_patch(box)
        left.set_title("\n".join(textwrap.wrap(caption, 2 * _WORDS)), fontsize=7, loc="left")
    save_figure(figure, out)


def _plain(axes: Axes, picture: NDArray[np.generic]) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_axis_on()
