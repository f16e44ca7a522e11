"""Generative against discriminative classifiers as the training data grows.

Ng and Jordan (2001), "On discriminative vs. generative classifiers": naive Bayes nears its own, higher error
with fewer examples than logistic regression needs, so it is ahead while data is scarce and behind when there
is enough. Both see the same word counts; logistic regression over TF-IDF is shown beside them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bottega.data.disk import disk_errors, write_json
from bottega.data.labelled import Labelled, open_labelled
from bottega.errors import InputError
from bottega.evaluation.classification import measure_accuracy
from bottega.models.logistic_regression import LogisticRegressionConfig, TfidfRegression
from bottega.models.naive_bayes import NaiveBayes, NaiveBayesConfig
from bottega.models.word_counts import check_examples
from bottega.plots.sizes import draw_against_size

Curves = dict[str, dict[int, list[float]]]  # classifier → size → accuracy of each draw
Progress = Callable[[int, int], None]

FITS: dict[str, Callable[[Sequence[str], Sequence[str]], NaiveBayes | TfidfRegression]] = {
    "naive Bayes": lambda texts, labels: NaiveBayes.fit(texts, labels, NaiveBayesConfig()),
    "logistic regression": lambda texts, labels: TfidfRegression.fit(
        texts, labels, LogisticRegressionConfig(tfidf=False)
    ),
    "logistic regression, TF-IDF": lambda texts, labels: TfidfRegression.fit(
        texts, labels, LogisticRegressionConfig()
    ),
}


@dataclass(frozen=True)
class SentimentConfig:
    """`draws`: how many times each size is drawn; the first size is `smallest`, each next one doubles."""

    data: tuple[str, ...] = ("sst2", "trec")
    draws: int = 20
    smallest: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.draws < 1 or self.smallest < 2 or not self.data:
            raise InputError(
                f"{self.draws} draws from {self.smallest} texts on: expected data, a draw, and two texts"
            )


def run_sentiment(out: Path, config: SentimentConfig, progress: Progress | None = None) -> str:
    """Measure all sizes of all data; write sentiment.png and sentiment.json into `out`, return the table."""
    panels: dict[str, Curves] = {}
    baselines: dict[str, float] = {}
    held_out_sizes: dict[str, int] = {}
    for number, name in enumerate(config.data):
        training, held_out = open_labelled([name])
        check_examples(training.texts, training.labels)

        def report(done: int, of: int, before: int = number) -> None:
            if progress:
                progress(before * of + done, len(config.data) * of)

        panels[name] = measure_sizes(training, held_out, config, report)
        commonest = max(map(held_out.labels.count, set(held_out.labels)))
        baselines[name], held_out_sizes[name] = commonest / len(held_out), len(held_out)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    draw_against_size(
        panels,
        out / "sentiment.png",
        size="training texts",
        quantity="accuracy on the held-out texts",
        levels=baselines,
    )
    values = {"curves": panels, "commonest_label": baselines, "held_out": held_out_sizes}
    write_json(out / "sentiment.json", values)
    return "\n\n".join(f"{name}\n{_table(curves)}" for name, curves in panels.items())


def measure_sizes(
    training: Labelled, held_out: Labelled, config: SentimentConfig, progress: Progress | None = None
) -> Curves:
    """The accuracy of each classifier on `held_out`, by how many training texts it has seen.

    A draw is an order of the training texts; its first `size` are what is learned from, so that the smaller
    sets are in the larger. Of all texts there is but one draw.
    """
    sizes = [config.smallest << power for power in range(40) if config.smallest << power < len(training)]
    curves: Curves = {name: {} for name in FITS}
    rounds = [(size, draw) for size in sizes for draw in range(config.draws)] + [(len(training), 0)]
    for number, (size, draw) in enumerate(rounds, start=1):
        chosen = _chosen(training, size, np.random.default_rng([config.seed, draw]))
        for name, fit in FITS.items():
            accuracy = measure_accuracy(fit(chosen.texts, chosen.labels), held_out).share
            curves[name].setdefault(size, []).append(accuracy)
        if progress:
            progress(number, len(rounds))
    return curves


def _chosen(training: Labelled, size: int, rng: np.random.Generator) -> Labelled:
    """The first texts of a random order, of which at least two classes are among them."""
    order = rng.permutation(len(training)).tolist()
    first = training.labels[order[0]]
    other = next((place for place, i in enumerate(order) if training.labels[i] != first), 1)
    if other >= size:
        order[1], order[other] = order[other], order[1]
    return Labelled([training.texts[i] for i in order[:size]], [training.labels[i] for i in order[:size]])


def _table(curves: Curves) -> str:
    width = max(map(len, curves))
    lines = ["texts".rjust(7) + "".join(name.rjust(width + 2) for name in curves)]
    for size in next(iter(curves.values())):
        cells = [
            f"{statistics.fmean(points[size]):.1%} ± {statistics.pstdev(points[size]):.1%}"
            for points in curves.values()
        ]
        lines.append(f"{size:7,}" + "".join(cell.rjust(width + 2) for cell in cells))
    return "\n".join(lines)
