"""A quantity against the size of the training data: the mean of several draws, and how far they scatter."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from bottega.plots.curves import COLOURS
from bottega.plots.figure import save_figure

MARKERS = "os^DvP*"


def draw_against_size(
    panels: Mapping[str, Mapping[str, Mapping[int, Sequence[float]]]],
    out: Path,
    *,
    size: str,
    quantity: str,
    levels: Mapping[str, float] | None = None,
) -> None:
    """Draw a panel for each title, in it a line for each name: values by size, one a draw.

    The sizes stand on a logarithmic axis; a band shows one standard deviation of the draws to each side.
    `levels` are drawn dotted, one to the panel of that title. Raises InputError where `out` has no ending
    of a picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * len(panels), 4.2), dpi=100, layout="constrained")
    for axes, (title, curves) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for (name, points), colour, marker in zip(curves.items(), COLOURS, MARKERS, strict=False):
            sizes = sorted(points)
            means = [statistics.fmean(points[one]) for one in sizes]
            spreads = [statistics.pstdev(points[one]) for one in sizes]
            axes.plot(sizes, means, color=colour, marker=marker, markersize=4, linewidth=1.4, label=name)
            low = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
            high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
            axes.fill_between(sizes, low, high, color=colour, alpha=0.13, linewidth=0)
        if levels and title in levels:
            axes.axhline(levels[title], color="0.35", linewidth=1.2, linestyle=":")
        axes.set_xscale("log")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(size)
        axes.set_ylabel(quantity)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.legend(frameon=False, loc="upper left", fontsize=9)
    save_figure(figure, out)
