"""Topics as a picture: the map of the topics page, with the words that name each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bottega.errors import InputError
from bottega.plots.curves import COLOURS
from bottega.plots.figure import save_figure
from bottega.plots.topics_page import Topics, topic_map

_NAMING = 3  # words beside a topic
_RELEVANCE = 0.6  # Sievert and Shirley's (2014) choice
_AREA = 9000.0  # of all circles together, in square points


def draw_topics(shown: Topics, out: Path) -> None:
    """Draw the map into a picture file; InputError where its ending is of no picture."""
    from matplotlib.figure import Figure

    places = topic_map(shown.topics)
    log_topics = np.log(shown.topics)
    log_share = np.log(shown.counts / shown.counts.sum())[:, None]
    best = np.argsort(-(log_topics - (1 - _RELEVANCE) * log_share), axis=0, kind="stable")[:_NAMING]
    figure = Figure(figsize=(10, 8), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.scatter(places[:, 0], places[:, 1], s=_AREA * shown.share, color=COLOURS[0], alpha=0.25, linewidth=0)
    for place, words in zip(places, best.T, strict=True):
        name = "\n".join(shown.words[word] for word in words)
        axes.annotate(name, place, ha="center", va="center", fontsize=6.5, linespacing=1.0)
    axes.set_axis_off()
    axes.margins(0.06)
    try:
        save_figure(figure, out)
    except InputError as error:
        raise InputError(f"{error}, or a page, .html") from None
