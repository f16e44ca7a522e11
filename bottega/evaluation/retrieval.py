"""Does a title find its article? Measured with any encoder, beside TF-IDF (Salton & Buckley 1988)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bottega.data.titled import Titled, without_words
from bottega.errors import InputError

Floats = npt.NDArray[np.floating]
Similarities = Callable[[list[str], list[str]], Floats]  # queries and texts → (queries, texts)
PASSAGE = 400  # characters
DRAWS = 5  # of a paragraph for each article, because one draw is luck
VARIANTS = (
    "a paragraph",
    "a paragraph without the title's words",
    "the opening",
    "the best of all paragraphs",
)


@dataclass(frozen=True)
class Retrieval:
    """Shares of the titles that find their article first and among the first five; the mean of 1 / rank."""

    recall_1: float
    recall_5: float
    mrr: float


def title_retrieval(
    articles: Sequence[Titled], similarities: Similarities, seed: int = 0
) -> dict[str, Retrieval]:
    """How well each article's title finds it among all, where the articles are given by each of VARIANTS.

    The first two are a paragraph behind the opening one, drawn DRAWS times over. Raises InputError for fewer
    than 10 articles.
    """
    if len(articles) < 10:
        raise InputError(
            f"{len(articles)} held-out titles are too few to retrieve among; expected 10 or more"
        )
    titles = [one.title for one in articles]
    rng = np.random.default_rng(seed)
    ranks: dict[str, list[Floats]] = {name: [] for name in VARIANTS}
    own = np.arange(len(titles))
    for _ in range(DRAWS):
        drawn = [_some(one.paragraphs, rng)[:PASSAGE] for one in articles]
        bare = [without_words(text, title) for text, title in zip(drawn, titles, strict=True)]
        ranks[VARIANTS[0]].append(_ranks(similarities(titles, drawn), own))
        ranks[VARIANTS[1]].append(_ranks(similarities(titles, bare), own))
    openings = [one.paragraphs[0][:PASSAGE] for one in articles]
    ranks[VARIANTS[2]].append(_ranks(similarities(titles, openings), own))
    everything = [text for one in articles for text in one.paragraphs]
    owner = np.repeat(own, [len(one.paragraphs) for one in articles])
    ranks[VARIANTS[3]].append(_ranks(similarities(titles, everything), owner))
    return {name: _summary(np.concatenate(found)) for name, found in ranks.items()}


def tfidf(documents: Sequence[str]) -> Similarities:
    """Cosines of TF-IDF vectors (logarithmic term frequencies); words and weights are of `documents`."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(sublinear_tf=True).fit(documents)

    def similarities(queries: list[str], texts: list[str]) -> Floats:
        found: Floats = (vectors.transform(queries) @ vectors.transform(texts).T).toarray()
        return found

    return similarities


def cosines(encode: Callable[[Sequence[str]], Floats]) -> Similarities:
    """Cosines of an encoder's vectors."""

    def similarities(queries: list[str], texts: list[str]) -> Floats:
        found: Floats = _unit(encode(queries)) @ _unit(encode(texts)).T
        return found

    return similarities


def _some(paragraphs: Sequence[str], rng: np.random.Generator) -> str:
    """One behind the first, where there is one."""
    return paragraphs[0] if len(paragraphs) == 1 else paragraphs[int(rng.integers(1, len(paragraphs)))]


def _ranks(scores: Floats, owner: npt.NDArray[np.int64]) -> Floats:
    """Each query's rank of its own article, whose score is that of its best text; ties count half."""
    best = np.full((len(scores), len(scores)), -np.inf)
    for column, article in enumerate(owner):
        np.maximum(best[:, article], scores[:, column], out=best[:, article])
    mine = best.diagonal()[:, None]
    ranks: Floats = 0.5 + (best > mine).sum(1) + (best == mine).sum(1) / 2
    return ranks


def _summary(ranks: Floats) -> Retrieval:
    return Retrieval(float((ranks <= 1).mean()), float((ranks <= 5).mean()), float((1 / ranks).mean()))


def _unit(vectors: Floats) -> Floats:
    lengths: Floats = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)
