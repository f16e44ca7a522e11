"""`bottega show words`: a map of word vectors."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

DESCRIPTION = """Draw words on a plane by their Word2Vec vectors, near where they are used alike.

Example: bottega show words runs/words --words king,queen,man,woman,uncle,aunt --out map.png"""


def main(argv: list[str]) -> None:
    """Parse the arguments, draw, print where the picture is."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_show, args=argv, prog="bottega show words", description=DESCRIPTION, config=markers)


def _show(
    model: Positional[str],
    out: Path,
    words: str = "",
    most_frequent: int = 120,
    method: Literal["pca", "tsne"] | None = None,
) -> None:
    """Draw words on a plane.

    Args:
        model: the folder of a Word2Vec model.
        out: picture to write: .png, .svg or .pdf.
        words: which words, with commas between; the most frequent that are no stop words if not given.
        most_frequent: how many of those.
        method: pca keeps parallel differences parallel, tsne neighbours together; pca up to 30 words.
    """
    from bottega.cli.words import load_words
    from bottega.plots.word_map import draw_words, flatten
    from bottega.text.words import Preparation

    loaded = load_words(model)
    if words:
        chosen = [word.strip() for word in words.split(",") if word.strip()]
    else:
        content = Preparation(stop_words=True, min_length=3)
        chosen = list(islice((word for word in loaded.words if content(word) == [word]), most_frequent))
    method = method or ("pca" if len(chosen) <= 30 else "tsne")
    rows = [loaded.number(word) for word in chosen]
    draw_words(flatten(loaded.vectors[rows], method), chosen, out)
    print(out)
