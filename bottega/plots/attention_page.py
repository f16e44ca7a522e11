"""The attention page: every head of every layer in one HTML file that fetches nothing.

Vig (2019), "A multiscale visualization of attention in the Transformer model", has the views: all heads by
layer, one head's lines between tokens. A third is the heat map, as Bahdanau et al. (2015, figure 3) drew it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottega.errors import InputError
from bottega.plots.page import inlined

# Which tokens look, and at which, by the kind of attention.
KINDS = {
    "self": ("source", "source"),
    "cross": ("target", "source"),
    "encoder": ("source", "source"),
    "decoder": ("target", "target"),
}
# Each takes 2.7 bytes of the page, and a browser draws all of them as thumbnails.
MOST_WEIGHTS = 4_000_000

Weights = NDArray[Any]  # layer × head × query × key


def attention_page(
    maps: Mapping[str, Weights], source: Sequence[str], target: Sequence[str] = (), title: str = "Attention"
) -> str:
    """Return the page for `maps`, each layer × head × query × key with rows that sum to 1.

    The names are those of KINDS: "self" for one sequence; "encoder", "decoder" and "cross" for a translation
    of `source` into `target`. Tokens may be any text: it is shown, never read as HTML. Raises InputError
    where a map does not fit its tokens, holds what is no share, or all are too large for a page.
    """
    tokens = {"source": list(source), "target": list(target)}
    if not maps:
        raise InputError("there is no attention to show; expected at least one map")
    for name, weights in maps.items():
        _check(name, weights, tokens)
    require_small({name: weights.shape for name, weights in maps.items()})
    order = [name for name in KINDS if name in maps]
    data = {"tokens": tokens, "maps": [_packed(name, maps[name]) for name in order]}
    return inlined("attention", title, data)


def _check(name: str, weights: Weights, tokens: Mapping[str, list[str]]) -> None:
    if name not in KINDS:
        raise InputError(f"there is no kind of attention {name!r}; expected {', '.join(KINDS)}")
    wanted = tuple(len(tokens[side]) for side in KINDS[name])
    if weights.ndim != 4 or weights.shape[2:] != wanted or 0 in weights.shape:
        raise InputError(
            f"{name}: expected weights of layer × head × {wanted[0]} × {wanted[1]}, at least one of each, "
            f"not {' × '.join(map(str, weights.shape))}"
        )
    if not ((weights >= 0) & (weights <= 1.001)).all():
        raise InputError(f"{name}: weights must be shares from 0 to 1; some are not")


def require_small(shapes: Mapping[str, Sequence[int]]) -> None:
    """Raise InputError where maps of these shapes, layer × head × query × key, are too much for a page."""
    total = sum(math.prod(shape) for shape in shapes.values())
    if total > MOST_WEIGHTS:
        heads = sum(shape[0] * shape[1] for shape in shapes.values())
        tokens = int((MOST_WEIGHTS / heads) ** 0.5)
        raise InputError(
            f"{total:,} weights would make a page of {total * 8 / 3 / 1e6:,.0f} MB, which no browser draws "
            f"in good time; for {heads:,} heads give at most about {tokens:,} tokens"
        )


def _packed(name: str, weights: Weights) -> dict[str, Any]:
    """A map in 16 bits a weight: what is shown has a tenth of a percent."""
    layers, heads, *_ = weights.shape
    numbers = np.rint(np.clip(weights, 0, 1) * 65535).astype("<u2")
    queries, keys = KINDS[name]
    text = base64.b64encode(numbers.tobytes()).decode()
    return {"name": name, "layers": layers, "heads": heads, "queries": queries, "keys": keys, "weights": text}
