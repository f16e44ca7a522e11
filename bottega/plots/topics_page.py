"""The topics page: a map of topics, their words and their documents, in one HTML file that fetches nothing.

After Sievert and Shirley (2014), "LDAvis: a method for visualizing and interpreting topics": topics lie near
each other where their words are alike, and a slider orders a topic's words by relevance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bottega.errors import InputError
from bottega.plots.page import inlined

WORDS, DOCUMENTS = 20, 12  # of a topic
SLIDER = np.linspace(0, 1, 11)  # where the page's slider can stand
_LEAST_SHARE = 0.01  # of a word that a topic has, to be shown on the map


@dataclass(frozen=True)
class Topics:
    """What the page shows.

    Attributes:
        topics: (word, topic) φ, above 0; every column sums to 1.
        share: (topic,) of the corpus.
        words: of the vocabulary.
        counts: (word,) how often each occurs in the corpus.
        mixtures: (document, topic) θ; every row sums to 1.
        titles: of the documents.
        excerpts: of the documents, a few lines.
    """

    topics: np.ndarray
    share: np.ndarray
    words: Sequence[str]
    counts: np.ndarray
    mixtures: np.ndarray
    titles: Sequence[str]
    excerpts: Sequence[str]

    def __post_init__(self) -> None:
        n_words, n_topics = self.topics.shape
        shapes = {"share": (n_topics,), "counts": (n_words,), "mixtures": (len(self.titles), n_topics)}
        for name, shape in shapes.items():
            found = getattr(self, name).shape
            if found != shape:
                raise InputError(f"{name} has the shape {found}; topics, words and titles ask for {shape}")
        if len(self.words) != n_words or len(self.excerpts) != len(self.titles):
            raise InputError(
                f"{len(self.words)} words for {n_words} rows, {len(self.excerpts)} excerpts for "
                f"{len(self.titles)} titles; expected one each"
            )


def topics_page(shown: Topics, title: str = "Topics") -> str:
    """Return the page; topics are numbered from 1 by their share, as `by_share` orders them.

    Words, titles and excerpts may be any text: it is shown, never read as HTML.
    """
    order = by_share(shown.share)
    places = topic_map(shown.topics)
    words = _foremost_words(shown)
    documents = np.argsort(-shown.mixtures, axis=0, kind="stable")[:DOCUMENTS]
    used = {int(document): place for place, document in enumerate(np.unique(documents))}
    data = {
        "total": int(shown.counts.sum()),
        "topics": [
            {
                "id": int(k),
                "x": round(float(places[k, 0]), 4),
                "y": round(float(places[k, 1]), 4),
                "share": round(float(shown.share[k]), 5),
                "words": [[int(word), float(f"{shown.topics[word, k]:.4g}")] for word in words[k]],
                "documents": [
                    [used[d], round(float(shown.mixtures[d, k]), 3)] for d in documents[:, k].tolist()
                ],
            }
            for k in order
        ],
        "words": _word_table(shown, order, sorted({int(word) for chosen in words for word in chosen})),
        "documents": [[shown.titles[document], shown.excerpts[document]] for document in used],
    }
    return inlined("topics", title, data)


def by_share(share: np.ndarray) -> list[int]:
    """The topics' columns, the largest first."""
    return [int(k) for k in np.argsort(-share, kind="stable")]


def topic_map(topics: np.ndarray) -> np.ndarray:
    """Places of topics (word, topic) on a plane, (topic, 2) from -1 to 1, near where words are shared.

    Classical scaling (Torgerson 1952) of Hellinger distances, √(1 − Σ_w √(φ_kw φ_jw)).
    """
    roots = np.sqrt(topics)
    squared = np.maximum(1 - roots.T @ roots, 0)
    np.fill_diagonal(squared, 0)
    centred = squared - squared.mean(0) - squared.mean(1)[:, None] + squared.mean()
    values, vectors = np.linalg.eigh(-centred / 2)
    places = np.zeros((topics.shape[1], 2))
    kept = np.argsort(-values)[:2]
    found = vectors[:, kept] * np.sqrt(np.maximum(values[kept], 0))
    places[:, : found.shape[1]] = found
    # The sign of an eigenvector is arbitrary; the same topics should give the same map everywhere.
    places *= np.where(places[np.abs(places).argmax(0), [0, 1]] < 0, -1, 1)
    largest = np.abs(places).max()
    return places / largest if largest > 1e-9 else np.zeros_like(places)


def _foremost_words(shown: Topics) -> list[list[int]]:
    """Of each topic the words that are foremost by relevance where the slider can stand."""
    log_topics = np.log(shown.topics)
    log_lift = log_topics - np.log(shown.counts / shown.counts.sum())[:, None]
    chosen: list[set[int]] = [set() for _ in shown.share]
    n = min(WORDS, len(shown.words))
    for weight in SLIDER:
        relevance = weight * log_topics + (1 - weight) * log_lift
        best = np.argpartition(-relevance, n - 1, axis=0)[:n]
        for k, column in enumerate(best.T):
            chosen[k].update(column.tolist())
    return [sorted(words) for words in chosen]


def _word_table(shown: Topics, order: Sequence[int], words: Sequence[int]) -> dict[int, Any]:
    """Of each word its spelling, its count, and its share in each topic, numbered as in `order`."""
    joint = shown.topics[words][:, order] * shown.share[order]
    joint /= joint.sum(1, keepdims=True)
    return {
        word: [
            shown.words[word],
            int(shown.counts[word]),
            [[int(k), round(float(row[k]), 3)] for k in np.flatnonzero(row >= _LEAST_SHARE)],
        ]
        for word, row in zip(words, joint, strict=True)
    }
