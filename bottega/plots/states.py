"""The states of a hidden Markov model: what each emits, and which follows which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bottega.plots.curves import COLOURS
from bottega.plots.figure import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Table = NDArray[np.float64]

MOST = 40  # symbols in a picture: the most frequent


def draw_symbol_states(emission: Table, transition: Table, names: Sequence[str], out: Path) -> None:
    """Draw what states emit (state, symbol) and their moves (from, to), both probabilities."""
    order = np.sort(np.argsort(-emission.sum(0), kind="stable")[:MOST])
    shown = emission[:, order]
    labels = [_visible(names[i]) for i in order]

    def draw(axes: Axes) -> None:
        if len(emission) > len(COLOURS):
            axes.imshow(np.sqrt(shown), cmap="Blues", aspect="auto", interpolation="nearest")
            axes.set_ylabel("state")
        else:
            width = 0.8 / len(shown)
            for state, row in enumerate(shown):
                places = np.arange(len(order)) + (state - (len(shown) - 1) / 2) * width
                axes.bar(places, row, width, color=COLOURS[state], label=f"state {state}")
            axes.set_ylabel("probability of the symbol in the state")
            axes.legend(frameon=False)
            axes.spines[["top", "right"]].set_visible(False)
        axes.set_xticks(range(len(order)), labels, fontsize=8)

    _draw(draw, transition, out)


def draw_gaussian_states(
    mean: Table, deviation: Table, transition: Table, names: Sequence[str], out: Path
) -> None:
    """Draw the means and standard deviations of states (state, feature) and their moves into a picture."""

    def draw(axes: Axes) -> None:
        for state, (centre, spread) in enumerate(zip(mean, deviation, strict=True)):
            places = np.arange(len(names)) + 0.6 * (state / len(mean) - 0.5)
            colour = COLOURS[state % len(COLOURS)]
            axes.errorbar(places, centre, spread, fmt="o", capsize=3, color=colour, label=f"state {state}")
        axes.set_xticks(range(len(names)), list(names))
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylabel("mean and standard deviation")
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)

    _draw(draw, transition, out)


def _draw(emissions: Callable[[Axes], None], transition: Table, out: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 1])
    emissions(left)
    right.imshow(transition, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    right.set(xlabel="next state", ylabel="state", title="moves")
    if len(transition) <= 8:
        for (i, j), share in np.ndenumerate(transition):
            right.text(j, i, f"{share:.2f}", ha="center", va="center", color="w" if share > 0.5 else "k")
        right.set_xticks(range(len(transition)))
        right.set_yticks(range(len(transition)))
    save_figure(figure, out)


def _visible(name: str) -> str:
    """A symbol that can be seen; a dollar would begin a formula."""
    return {" ": "␣", "\n": "↵", "\t": "⇥", "$": r"\$"}.get(name, name if name.isprintable() else "·")
