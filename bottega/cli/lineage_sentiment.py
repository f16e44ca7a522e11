"""`bottega lineage sentiment`: a generative and a discriminative classifier as the training data grows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, arg

DESCRIPTION = """Accuracy of naive Bayes and of logistic regression by how many texts they have learned from
(Ng and Jordan 2001); writes sentiment.png and sentiment.json.

Example: bottega lineage sentiment --out runs/sentiment
         bottega lineage sentiment --data embedded --draws 5 --out runs/docstrings"""


def main(argv: list[str]) -> None:
    """Parse the arguments, measure and print."""
    markers = (FlagCreatePairsOff, DisallowNone)
    tyro.cli(_sentiment, args=argv, prog="bottega lineage sentiment", description=DESCRIPTION, config=markers)


def _sentiment(
    out: Path,
    data: tuple[str, ...] = ("sst2", "trec"),
    draws: int = 20,
    smallest: int = 20,
    seed: int = 0,
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Measure the classifiers on growing parts of labelled data.

    Args:
        out: the folder for the figure and the numbers.
        data: sst2, trec, rte, cb, embedded, or files with a text and a label a line; a panel each.
        draws: how many times each size is drawn.
        smallest: texts of the smallest size; each next one has twice as many.
        seed: which draws these are.
        json_: print sentiment.json instead of the table.
    """
    from rich.console import Console
    from rich.progress import Progress

    from bottega.recipes.lineage_sentiment import SentimentConfig, run_sentiment

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("classifiers")
        config = SentimentConfig(data, draws, smallest, seed)
        table = run_sentiment(out, config, lambda done, of: bar.update(task, completed=done, total=of))
    if json_:
        print((out / "sentiment.json").read_text(encoding="utf-8"))
    else:
        print(f"{table}\n\n{out / 'sentiment.png'}")
