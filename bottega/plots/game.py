"""Figures of GANs over points: the two densities with D on a line, and clouds of points on a plane."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bottega.plots.curves import COLOURS
from bottega.plots.figure import save_figure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating]


class OnALine(Protocol):
    """What is drawn of a game on a line."""

    @property
    def x(self) -> Array:
        """The places, evenly apart."""
        ...

    @property
    def data(self) -> Array:
        """The density of the data there."""
        ...

    @property
    def generator(self) -> Array:
        """The density of the samples."""
        ...

    @property
    def discriminator(self) -> Array:
        """D."""
        ...

    @property
    def best(self) -> Array:
        """The best D for these densities."""
        ...


def draw_game(games: Mapping[str, OnALine], out: Path) -> None:
    """Draw a panel for each title: p_data dotted, p_g in full, D dashed beside the best D.

    Raises InputError where `out` has no ending of a picture.
    """
    from matplotlib.figure import Figure

    figure = Figure((3.3 * len(games), 3.2), 100, layout="constrained")
    low = min(float(game.x[0]) for game in games.values())
    high = max(float(game.x[-1]) for game in games.values())
    panels = figure.subplots(1, len(games), squeeze=False, sharey=True)[0]
    for axes, (title, game) in zip(panels, games.items(), strict=True):
        axes.fill_between(game.x, game.generator, color=COLOURS[2], alpha=0.2, linewidth=0)
        axes.plot(game.x, game.generator, color=COLOURS[2], label="p of the generator")
        axes.plot(game.x, game.data, color="black", linestyle=":", label="p of the data")
        axes.plot(game.x, game.discriminator, color=COLOURS[0], linestyle="--", label="D")
        axes.plot(game.x, game.best, color=COLOURS[1], linewidth=1, label="D*, the best")
        axes.axhline(0.5, color="0.8", linewidth=0.8, zorder=0)
        axes.set_title(title, fontsize=10)
        axes.set(xlim=(low, high), ylim=(0, 1.15))
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    save_figure(figure, out)


def draw_points(clouds: Mapping[str, Array], centres: Array, radius: float, out: Path) -> None:
    """Draw a panel for each title: its points (n, 2), and a circle of `radius` around each centre (modes, 2).

    Raises InputError where `out` has no ending of a picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    figure = Figure((2.6 * len(clouds), 2.9), 100, layout="constrained")
    reach = 1.4 * float(abs(centres).max()) + radius
    for axes, (title, points) in zip(
        figure.subplots(1, len(clouds), squeeze=False)[0], clouds.items(), strict=True
    ):
        axes.plot(points[:, 0], points[:, 1], ".", color=COLOURS[0], markersize=1.5, alpha=0.4)
        for centre in centres:
            axes.add_patch(Circle(tuple(centre), radius, fill=False, color=COLOURS[1], linewidth=0.8))
        axes.set_title(title, fontsize=10)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
    save_figure(figure, out)
