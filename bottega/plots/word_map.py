"""Words on a plane: their vectors, flattened so that what is near stays near."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from bottega.errors import InputError
from bottega.plots.figure import save_figure

if TYPE_CHECKING:
    from numpy.typing import NDArray


def flatten(
    vectors: NDArray[np.float32], method: Literal["pca", "tsne"], seed: int = 0
) -> NDArray[np.float64]:
    """Vectors (word, width), scaled to length 1, on a plane: (word, 2).

    `pca` keeps the two directions in which they differ most, so parallel differences stay parallel; `tsne`
    keeps neighbours together (van der Maaten and Hinton 2008) and no distance beyond. Raises InputError for
    fewer than three words.
    """
    if len(vectors) < 3:
        raise InputError(f"a map needs three words or more, not {len(vectors)}")
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    if method == "pca":
        from sklearn.decomposition import PCA

        return np.asarray(PCA(2, random_state=seed).fit_transform(unit), dtype=np.float64)
    from sklearn.manifold import TSNE

    nearby = min(15.0, (len(vectors) - 1) / 3)  # t-SNE's perplexity
    plane = TSNE(2, perplexity=nearby, init="pca", metric="cosine", random_state=seed).fit_transform(unit)
    return np.asarray(plane, dtype=np.float64)


def draw_words(plane: NDArray[np.float64], words: Sequence[str], out: Path) -> None:
    """Write the words at their places (word, 2) into a picture: PNG, SVG or PDF by its ending."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.scatter(plane[:, 0], plane[:, 1], s=14, color="#0072B2", alpha=0.7)
    for word, place in zip(words, plane, strict=True):
        axes.annotate(word, place, xytext=(4, 3), textcoords="offset points", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.08)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, out)
