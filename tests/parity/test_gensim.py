"""Word2Vec beside gensim: the same similarities, as far as two seeds of gensim agree with each other."""

from __future__ import annotations

import pydoc_data.topics
from pathlib import Path

import numpy as np
import pytest

from bottega.models.word2vec import Word2Vec, Word2VecConfig, Word2VecTraining
from bottega.text.words import words

gensim = pytest.importorskip("gensim.models")

COMMON = 300  # words whose similarities are compared: the others have too few occurrences to be sure of


@pytest.fixture(scope="module")
def sentences() -> list[list[str]]:
    texts = pydoc_data.topics.topics.values()
    return [found for text in texts for line in text.split("\n\n") if (found := words(line))]


def theirs(sentences: list[list[str]], architecture: str, seed: int) -> np.ndarray:
    model = gensim.Word2Vec(
        sentences, vector_size=50, window=5, negative=5, min_count=5, sample=1e-3, epochs=10,
        sg=int(architecture == "skip-gram"), workers=1, seed=seed,
    )  # fmt: skip
    return model.wv


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def agreement(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The rank correlation of all similarities, and the share of each word's ten neighbours in common."""
    from scipy.stats import spearmanr

    pairs = np.triu_indices(len(one), 1)
    nearest = [np.argsort(-(table - 2 * np.eye(len(table))))[:, :10] for table in (one, other)]
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(*nearest, strict=True)]
    return float(spearmanr(one[pairs], other[pairs])[0]), float(np.mean(shared))


@pytest.mark.parametrize("architecture", ["skip-gram", "cbow"])
def test_similarities_agree_as_two_seeds_of_gensim_do(sentences: list[list[str]], architecture: str) -> None:
    config = Word2VecConfig(width=50, architecture=architecture)  # type: ignore[arg-type]
    ours = Word2Vec.fit(sentences, config, Word2VecTraining(epochs=10))
    first, second = (theirs(sentences, architecture, seed) for seed in (1, 2))
    assert set(ours.words) == set(first.index_to_key)
    assert [ours.counts[ours.ids[word]] for word in first.index_to_key[:9]] == [
        first.get_vecattr(word, "count") for word in first.index_to_key[:9]
    ]
    common = first.index_to_key[:COMMON]
    tables = [cosines(np.stack([one[word] for word in common])) for one in (first, second)]
    mine = cosines(np.stack([ours.vector(word) for word in common]))
    among_seeds, with_ours = agreement(*tables), agreement(mine, tables[0])
    assert with_ours[0] > among_seeds[0] - 0.03, (among_seeds, with_ours)
    assert with_ours[1] > among_seeds[1] - 0.05, (among_seeds, with_ours)
    # Two sums of eq. 4 that are equally far on have vectors of like length too.
    lengths = [np.linalg.norm([one[word] for word in common], axis=1).mean() for one in (first, second)]
    mean = np.linalg.norm([ours.vector(word) for word in common], axis=1).mean()
    assert mean == pytest.approx(np.mean(lengths), rel=0.1)


def test_gensim_reads_our_text_format(sentences: list[list[str]], tmp_path: Path) -> None:
    ours = Word2Vec.fit(sentences, Word2VecConfig(width=20), Word2VecTraining(epochs=1))
    ours.export_text(tmp_path / "vectors.txt")
    from gensim.models import KeyedVectors

    read = KeyedVectors.load_word2vec_format(tmp_path / "vectors.txt")
    assert read.index_to_key == ours.words
    assert np.allclose(read["function"], ours.vector("function"), atol=1e-6)
    assert read.similarity("function", "class") == pytest.approx(
        ours.similarity("function", "class"), abs=1e-5
    )
    found = read.most_similar(positive=["module", "functions"], negative=["modules"], topn=3)
    assert found[0][0] == ours.analogy("modules", "functions", "module")[0][0]
