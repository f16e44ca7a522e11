"""Learning curves: loss and bits per byte, against steps and against seconds; several runs in one figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bottega.errors import InputError
from bottega.plots.figure import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito (2008): told apart by colour-blind readers and in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SMOOTHING = 0.02  # share of a run over which the training loss is averaged

Points = tuple[list[float], list[float]]
Run = Mapping[str, Mapping[str, Sequence[float]]]


def read_run(run: Path) -> dict[str, dict[str, list[float]]]:
    """Return the columns of curves.jsonl: `step` and `validation`, each with step, seconds and values.

    Raises InputError where there are none or they are damaged. A last line that a kill cut short is left out.
    """
    path = run / "curves.jsonl"
    if not path.is_file():
        raise InputError(f"{run} has no curves.jsonl; give the run of a network, not of a model that counts")
    columns: dict[str, dict[str, list[float]]] = {"step": {}, "validation": {}}
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break
        try:
            values: dict[str, Any] = json.loads(line)
            kind = values.pop("event")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path}, line {number}: not a line of curves; remove it") from None
        if kind in columns:
            numbers = values | values.pop("values", {})
            for name in ("step", "seconds", "tokens", "loss", "bits_per_byte"):
                if name in numbers:
                    columns[kind].setdefault(name, []).append(float(numbers[name]))
    if not columns["step"]:
        raise InputError(f"{path} holds no steps yet; train a little longer")
    return columns


def draw_curves(runs: Mapping[str, Run], out: Path, rivals: Mapping[str, float] | None = None) -> None:
    """Draw the runs, by name, into a picture file (PNG, SVG or PDF by its ending).

    `rivals` are bits per byte of models that have no curve: level lines, by name.
    """
    from matplotlib.figure import Figure

    with_bytes = any("bits_per_byte" in run["validation"] for run in runs.values())
    panels = ["loss", "bits_per_byte"] if with_bytes else ["loss"]
    figure = Figure(figsize=(11, 4.2 * len(panels)), dpi=150, layout="constrained")
    grid = figure.subplots(len(panels), 2, squeeze=False, sharey="row")
    for row, quantity in zip(grid, panels, strict=True):
        for axes, against in zip(row, ("step", "seconds"), strict=True):
            for (name, run), colour in zip(runs.items(), COLOURS * len(runs), strict=False):
                _draw(axes, name, run, quantity, against, colour)
            if quantity == "bits_per_byte":
                _draw_levels(axes, rivals or {})
            _dress(axes, quantity, against)
        row[0].legend(frameon=False)
    save_figure(figure, out)


def _draw(axes: Axes, name: str, run: Run, quantity: str, against: str, colour: str) -> None:
    if quantity == "loss":
        steps = run["step"]
        x, y = steps[against], steps["loss"]
        axes.plot(x, y, color=colour, alpha=0.18, linewidth=0.8)
        axes.plot(
            x,
            smoothed(y, max(1, round(SMOOTHING * len(y)))),
            color=colour,
            linewidth=1.4,
            label=f"{name}, training",
        )
    held_out = run["validation"]
    if quantity in held_out:
        x, y = held_out[against], held_out[quantity]
        axes.plot(
            x,
            y,
            color=colour,
            marker="o",
            markersize=4,
            linewidth=1.4,
            linestyle="--",
            label=f"{name}, held out",
        )
        axes.annotate(
            f"{y[-1]:.3f}",
            (x[-1], y[-1]),
            xytext=(4, 6),
            textcoords="offset points",
            color=colour,
            fontsize=9,
        )


def _draw_levels(axes: Axes, levels: Mapping[str, float]) -> None:
    for (name, level), style in zip(levels.items(), (":", "-.") * len(levels), strict=False):
        axes.axhline(level, color="0.35", linewidth=1.2, linestyle=style, label=f"{name}: {level:.3f}")


def _dress(axes: Axes, quantity: str, against: str) -> None:
    axes.set_xlabel("steps" if against == "step" else "seconds of training")
    axes.set_ylabel("loss (nats)" if quantity == "loss" else "bits per byte")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_xlim(left=0)
    axes.margins(x=0.06)


def smoothed(values: Sequence[float], width: int) -> list[float]:
    """Return the mean of each value and the up to `width - 1` before it."""
    total, result = 0.0, []
    for index, value in enumerate(values):
        total += value
        if index >= width:
            total -= values[index - width]
        result.append(total / min(index + 1, width))
    return result
