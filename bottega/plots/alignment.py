"""Which words of the source a translator looked at for each word that it wrote, as a grey picture.

As figure 3 of Bahdanau et al. (2015), "Neural machine translation by jointly learning to align and
translate".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bottega.errors import InputError
from bottega.plots.figure import save_figure

_CELL = 0.27  # inches: a label of 9 points and a little air


def draw_alignment(
    weights: npt.NDArray[np.floating], source: Sequence[str], written: Sequence[str], out: Path
) -> None:
    """Draw weights (written, source), of which each row sums to 1: black is 0, white is 1.

    Raises InputError where the tokens do not fit the weights, or `out` has no ending of a picture.
    """
    from matplotlib.figure import Figure

    if weights.shape != (len(written), len(source)):
        raise InputError(
            f"weights of shape {weights.shape} do not fit {len(written)} written, {len(source)} read tokens"
        )
    size = _CELL * len(source) + 1.1, _CELL * len(written) + 1.1
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.imshow(weights, cmap="gray", vmin=0.0, vmax=1.0, aspect="equal")
    axes.set_xticks(range(len(source)), [_shown(token) for token in source], rotation=90, fontsize=9)
    axes.set_yticks(range(len(written)), [_shown(token) for token in written], fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    save_figure(figure, out)


def _shown(token: str) -> str:
    """A token on one line; matplotlib would read a formula between dollars."""
    return " ".join(token.split()).replace("$", r"\$") or "␣"
