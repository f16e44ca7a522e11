"""`bottega show topics`: a page with the topics of a run."""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

DESCRIPTION = """Write a page with the map, words and documents of topics; any browser opens it, offline.

Example: bottega show topics runs/topics --out page.html
         bottega show topics runs/topics --out map.png"""


def main(argv: list[str]) -> None:
    """Parse the arguments, read the run, write the page."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName)
    tyro.cli(_show, args=argv, prog="bottega show topics", description=DESCRIPTION, config=markers)


def _show(run: Positional[Path], out: Path) -> None:
    """Show the topics of a run.

    Args:
        run: the folder that `bottega train lda` wrote.
        out: the page to write, .html; or its map alone, .png, .svg or .pdf.
    """
    import numpy as np

    from bottega.data.disk import atomic_file
    from bottega.plots.topics_figure import draw_topics
    from bottega.plots.topics_page import Topics, topics_page
    from bottega.recipes.topics import read_run

    read = read_run(run)
    model = read.model
    counts = np.array(model.vocabulary.counts)
    shown = Topics(
        model.topics, model.share(), model.vocabulary.words, counts, read.mixtures, read.titles, read.excerpts
    )
    if out.suffix in (".html", ".htm"):
        page = topics_page(shown, title=f"Topics in {run}")
        with atomic_file(out) as file:
            file.write(page.encode())
    else:
        draw_topics(shown, out)
    print(out)
