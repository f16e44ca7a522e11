"""Perplexity of held-out halves and coherence, by hand and beside gensim."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bottega.errors import InputError
from bottega.evaluation.topics import coherence, complete_documents


def test_one_uniform_topic_has_the_vocabulary_as_its_perplexity() -> None:
    topics, alpha = np.full((7, 2), 1 / 7), np.array([0.5, 1.0])
    documents = [np.array([0, 1, 2, 6]), np.array([3]), np.array([], dtype=np.int32), np.array([5, 5, 5])]
    found = complete_documents(documents, topics, alpha)
    assert found.count == 4  # half of four, and the larger half of three
    assert found.perplexity == pytest.approx(7)
    assert found.total == pytest.approx(-4 * math.log(7))


def test_the_first_half_tells_about_the_second() -> None:
    topics = np.array([[0.5, 0], [0.5, 0], [0, 0.5], [0, 0.5]]) * 0.9999 + 0.000025
    documents = [np.array([0, 1] * 50), np.array([2, 3] * 50)]
    found = complete_documents(documents, topics, np.array([0.01, 0.01]))
    assert found.perplexity == pytest.approx(2, rel=0.01)
    assert found == complete_documents(documents, topics, np.array([0.01, 0.01]))
    assert found != complete_documents(documents[:1], topics, np.array([0.01, 0.01]))


def test_nothing_to_complete() -> None:
    with pytest.raises(InputError, match="two known words"):
        complete_documents([np.array([1]), np.array([], dtype=int)], np.full((2, 1), 0.5), np.ones(1))


@pytest.mark.parametrize(("measure", "theirs"), [("npmi", "c_npmi"), ("umass", "u_mass")])
def test_coherence_is_gensims(measure, theirs: str) -> None:
    models = pytest.importorskip("gensim.models")
    from gensim.corpora import Dictionary

    # No word twice in a document: where a word leaves gensim's window, it forgets another copy inside.
    rng = np.random.default_rng(0)
    documents = [rng.permutation(40)[: rng.integers(8, 40)] for _ in range(120)]
    top = [[0, 3, 17, 5], [39, 1, 2, 4], [20, 21, 22, 23]]
    texts = [[str(word) for word in document] for document in documents]
    dictionary = Dictionary(texts)
    oracle = models.CoherenceModel(
        topics=[[str(word) for word in words] for words in top],
        texts=texts,
        corpus=[dictionary.doc2bow(text) for text in texts],
        dictionary=dictionary,
        coherence=theirs,
        window_size=10,
        processes=1,
    )
    assert coherence(top, documents, measure) == pytest.approx(oracle.get_coherence_per_topic(), abs=1e-6)


def test_words_that_never_meet_are_incoherent() -> None:
    documents = [np.array([0, 1] * 20), np.array([2, 3] * 20)]
    good, bad = coherence([[0, 1], [0, 2]], documents)
    assert good > 0 > bad > -1
    assert coherence([[0, 1]], [*documents, np.array([], dtype=int)], "umass")[0] == pytest.approx(
        0, abs=1e-9
    )
