"""Where pictures lie in a model's code, on a plane, and what the plane decodes to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bottega.errors import InputError
from bottega.plots.figure import save_figure
from bottega.plots.grid import grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.floating]

MOST_CLASSES = 20  # that have a colour and a line in the legend


def on_plane(codes: Numbers) -> tuple[Numbers, tuple[str, str]]:
    """Codes (n, width) as points (n, 2), and what the two axes are.

    Codes of two numbers stay as they are; of wider ones the first two principal components are taken. Raises
    InputError for codes of one number, or fewer than three of them.
    """
    n, width = codes.shape
    if width < 2 or n < 3:
        raise InputError(f"{n} codes of {width}: a map needs three codes or more, of two numbers or more")
    if width == 2:
        return codes, ("first number of the code", "second number of the code")
    from sklearn.decomposition import PCA

    pca = PCA(2, svd_solver="full" if max(n, width) < 500 else "covariance_eigh").fit(codes)
    shares = pca.explained_variance_ratio_
    names = tuple(
        f"{which} principal component of {width} numbers ({share:.0%} of the variance)"
        for which, share in zip(("first", "second"), shares, strict=True)
    )
    return pca.transform(codes), (names[0], names[1])


def square(side: int, mean: Numbers | float = 0.0, deviation: Numbers | float = 1.0) -> Numbers:
    """Codes (side², 2) of a grid over the unit square, row by row from the top left.

    The quantiles of a Gaussian take the square to the plane, so that every cell is equally probable (Kingma &
    Welling 2014, figure 4). Upwards the second number grows.
    """
    from scipy.stats import norm

    quantiles = norm.ppf((np.arange(side) + 0.5) / side)
    down, right = np.meshgrid(quantiles[::-1], quantiles, indexing="ij")
    return np.stack([right.ravel(), down.ravel()], 1) * deviation + mean


def draw_manifold(
    plane: Numbers,
    axes_names: tuple[str, str],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    out: Path,
    decoded: Numbers | None = None,
    title: str = "",
) -> None:
    """Draw points (n, 2), a colour a class; beside them `decoded`, (side², channels, height, width)."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure((6.4 if decoded is None else 12.4, 5.6), 110, layout="constrained")
    panels = figure.subplots(1, 1 if decoded is None else 2, squeeze=False)[0]
    shown = [number for number in range(len(classes)) if (labels == number).any()]
    colours = colormaps["tab10" if len(shown) <= 10 else "tab20"]
    if 0 < len(shown) <= MOST_CLASSES:
        for place, number in enumerate(shown):
            points = plane[labels == number]
            colour = colours(place)
            panels[0].scatter(*points.T, s=6, alpha=0.6, linewidths=0, color=colour, label=classes[number])
        panels[0].legend(frameon=False, markerscale=2.5, fontsize=9, loc="best")
    else:
        panels[0].scatter(*plane.T, s=6, alpha=0.6, linewidths=0, c=labels, cmap="viridis")
    panels[0].set(xlabel=axes_names[0], ylabel=axes_names[1])
    panels[0].spines[["top", "right"]].set_visible(False)
    if decoded is not None:
        side = round(len(decoded) ** 0.5)
        panels[1].imshow(np.asarray(grid(decoded, columns=side, scale=2)), cmap="gray", vmin=0, vmax=255)
        panels[1].axis("off")
        panels[1].set_title(title, fontsize=10)
    save_figure(figure, out)
