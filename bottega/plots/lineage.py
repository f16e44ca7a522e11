"""Figures of the benches that compare models with their ancestors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bottega.plots.curves import COLOURS
from bottega.plots.figure import save_figure

Columns = Mapping[str, Sequence[float]]
STYLES = (":", "-.", "--", (0, (1, 3)))


def draw_learning(curves: Mapping[str, Columns], levels: Mapping[str, float], out: Path) -> None:
    """Draw held-out bits per byte against seconds of training, and against tokens read.

    `curves` have the columns `seconds`, `tokens` and `bits_per_byte`; `levels` are models without a curve.
    The scale ends where the worst level is, or at a third of what an untrained model needs.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), dpi=110, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, against in zip(panels, ("seconds", "tokens"), strict=True):
        for (name, columns), colour in zip(curves.items(), COLOURS, strict=False):
            axes.plot(
                columns[against], columns["bits_per_byte"], color=colour, marker="o", markersize=3, label=name
            )
        for (name, level), style in zip(levels.items(), STYLES, strict=False):
            axes.axhline(level, color="0.35", linewidth=1.2, linestyle=style, label=f"{name}: {level:.3f}")
        axes.set_xlabel("seconds of training" if against == "seconds" else "tokens read")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.set_xlim(left=0)
    ends = [columns["bits_per_byte"][-1] for columns in curves.values()] + list(levels.values())
    panels[0].set_ylim(0.9 * min(ends), 1.15 * max(ends))
    panels[0].set_ylabel("held-out bits per byte")
    panels[1].legend(frameon=False, fontsize=9)
    save_figure(figure, out)


def draw_lengths(buckets: Mapping[str, Sequence[tuple[str, int, float]]], out: Path) -> None:
    """Draw BLEU against the length of the source: for each model its buckets' names, sentences and BLEU."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    for (name, points), colour in zip(buckets.items(), COLOURS, strict=False):
        axes.plot(range(len(points)), [bleu for *_, bleu in points], color=colour, marker="o", label=name)
    first = next(iter(buckets.values()))
    axes.set_xticks(range(len(first)), [f"{words}\n{count:,} sentences" for words, count, _ in first])
    axes.set_xlabel("words of the source")
    axes.set_ylabel("BLEU")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.legend(frameon=False)
    save_figure(figure, out)
