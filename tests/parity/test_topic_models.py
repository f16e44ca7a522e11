"""LDA beside tomotopy and scikit-learn: topics of the same data, measured by one estimator."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from bottega.evaluation.topics import complete_documents
from bottega.models.lda import LDA, LDAConfig, counted
from bottega.models.lda_gibbs import Gibbs
from bottega.models.lda_variational import OnlineBayes, expected_counts

K, V = 8, 300
PLAIN = {"reduce": "none", "stop_words": False, "min_length": 1, "min_documents": 1, "max_share": 1.0}


@pytest.fixture(scope="module")
def documents() -> list[list[str]]:
    """Drawn from the model itself: 400 documents of 60 words."""
    rng = np.random.default_rng(5)
    topics = rng.dirichlet(np.full(V, 0.05), K)
    mixtures = rng.dirichlet(np.full(K, 0.2), 400)
    return [[f"w{w}" for w in rng.choice(V, 60, p=mixture @ topics)] for mixture in mixtures]


def perplexity(model: LDA, documents: list[list[str]], topics=None, alpha=None) -> float:
    ids = [model.vocabulary.ids(document) for document in documents[300:]]
    topics, alpha = (model.topics, model.alpha) if topics is None else (topics, alpha)
    return complete_documents(ids, topics, alpha).perplexity


def test_gibbs_beside_tomotopy(documents: list[list[str]]) -> None:
    tomotopy = pytest.importorskip("tomotopy")
    ours = LDA.fit_words(documents[:300], LDAConfig(K, **PLAIN), Gibbs(200))
    theirs = tomotopy.LDAModel(k=K, alpha=0.1, eta=0.01, seed=1)
    for document in documents[:300]:
        theirs.add_doc(document)
    theirs.train(200, workers=1)
    topics = np.zeros_like(ours.topics)
    places = [ours.vocabulary.index[word] for word in theirs.used_vocabs]
    topics[places] = np.transpose([theirs.get_topic_word_dist(k) for k in range(K)])
    rival = perplexity(ours, documents, topics, np.array(theirs.alpha, dtype=float))
    assert perplexity(ours, documents) == pytest.approx(rival, rel=0.02)


def test_online_bayes_beside_scikit_learn(documents: list[list[str]]) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    config = LDAConfig(K, alpha=1 / K, eta=1 / K, **PLAIN)
    ours = LDA.fit_words(documents[:300], config, OnlineBayes(40, batch=64, seed=1))
    counts = counted([ours.vocabulary.ids(document) for document in documents[:300]], len(ours.vocabulary))
    theirs = decomposition.LatentDirichletAllocation(
        K, learning_method="online", max_iter=40, batch_size=64, random_state=1
    ).fit(counts)
    topics = theirs.components_.T / theirs.components_.sum(1)
    rival = perplexity(ours, documents, topics, np.full(K, 1 / K))
    assert perplexity(ours, documents) < 1.02 * rival  # both end in some local optimum, often we in a better


def test_the_expectation_step_is_scikit_learns() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    rng = np.random.default_rng(6)
    counts = csr_matrix(rng.poisson(0.2, (50, V)).astype(float))
    theirs = decomposition.LatentDirichletAllocation(K, random_state=1, max_iter=1).fit(counts)
    _, expected = theirs._e_step(counts, cal_sstats=True, random_init=False)
    found = expected_counts(counts, theirs.components_.T.copy(), np.full(K, 1 / K))
    assert found == pytest.approx(expected.T, rel=1e-5, abs=1e-8)
