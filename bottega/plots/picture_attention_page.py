"""The attention page of a picture: every head over the patches, in one HTML file that fetches nothing.

Beside the heads stands attention rollout (Abnar & Zuidema 2020): what comes through all layers, laid over the
picture as Dosovitskiy et al. (2021, figure 6) have it.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottega.errors import InputError
from bottega.plots.page import inlined

# Each takes 1.4 bytes of the page: room for ViT-Large, 384 heads over 197 tokens.
MOST_WEIGHTS = 16_000_000

Numbers = NDArray[Any]


def picture_attention_page(
    picture: Numbers,
    weights: Numbers,
    through: Numbers,
    grid: tuple[int, int],
    said: Sequence[tuple[str, float]] = (),
    title: str = "Attention",
) -> str:
    """Return the page for a `picture`, channels × height × width in [0, 1].

    `weights`, layer × head × token × token, and `through`, token × token, have rows that sum to 1; the tokens
    are <cls> and the patches of `grid`, rows × columns. `said` are classes with their probabilities. Raises
    InputError where these do not fit each other, hold what is no share, or are too many for a page.
    """
    tokens = 1 + grid[0] * grid[1]
    if weights.ndim != 4 or weights.shape[2:] != (tokens, tokens) or 0 in weights.shape:
        raise InputError(
            f"expected weights of layer × head × {tokens} × {tokens}, for <cls> and {grid[0]} × {grid[1]} "
            f"patches, not {' × '.join(map(str, weights.shape))}"
        )
    if through.shape != (tokens, tokens) or picture.ndim != 3 or picture.shape[0] not in (1, 3):
        raise InputError(
            f"expected a picture of 1 or 3 channels and a rollout of {tokens} × {tokens}, not "
            f"{picture.shape} and {through.shape}"
        )
    require_small(*weights.shape[:3])
    rows = np.concatenate([weights.reshape(-1, tokens), through])
    if not ((rows >= 0) & (rows <= 1.001)).all():
        raise InputError("weights must be shares from 0 to 1; some are not")
    pixels = np.rint(np.clip(np.broadcast_to(picture, (3, *picture.shape[1:])), 0, 1) * 255)
    largest = rows.max(1).astype("<f4")
    shares = np.rint(rows / largest[:, None] * 255)
    data = {
        "layers": weights.shape[0],
        "heads": weights.shape[1],
        "grid": list(grid),
        "size": list(picture.shape[1:]),
        "pixels": _text(pixels.astype(np.uint8).transpose(1, 2, 0)),
        "largest": _text(largest),
        "shares": _text(shares.astype(np.uint8)),
        "said": [[name, float(probability)] for name, probability in said],
    }
    return inlined("picture_attention", title, data)


def require_small(layers: int, heads: int, tokens: int) -> None:
    """Raise InputError where so many weights are too much for a page."""
    total = layers * heads * tokens * tokens
    if total > MOST_WEIGHTS:
        raise InputError(
            f"{total:,} weights would make a page of {total * 4 / 3 / 1e6:,.0f} MB, which no browser draws "
            f"in good time; at most {MOST_WEIGHTS:,} are shown: give a model with fewer heads or patches"
        )


def _text(numbers: Numbers) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers).tobytes()).decode()
