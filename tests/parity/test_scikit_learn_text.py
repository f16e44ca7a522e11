"""Naive Bayes and logistic regression give what scikit-learn's own pipelines give, also after a save."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from bottega.data.labelled import open_labelled
from bottega.models.logistic_regression import LogisticRegressionConfig, TfidfRegression
from bottega.models.naive_bayes import NaiveBayes, NaiveBayesConfig

WORDS = r"(?u)\b\w+\b"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            lambda x, y: NaiveBayes.fit(x, y, NaiveBayesConfig(alpha=0.5, ngrams=2)),
            make_pipeline(CountVectorizer(token_pattern=WORDS, ngram_range=(1, 2)), MultinomialNB(alpha=0.5)),
        ),
        (
            lambda x, y: TfidfRegression.fit(x, y, LogisticRegressionConfig(inverse_penalty=3)),
            make_pipeline(TfidfVectorizer(token_pattern=WORDS), LogisticRegression(C=3, max_iter=1000)),
        ),
        (
            lambda x, y: TfidfRegression.fit(x, y, LogisticRegressionConfig(tfidf=False)),
            make_pipeline(CountVectorizer(token_pattern=WORDS), LogisticRegression(max_iter=1000)),
        ),
    ],
    ids=["naive Bayes", "TF-IDF", "counts"],
)
def test_the_same_probabilities(ours, theirs, tmp_path: Path) -> None:
    training, held_out = open_labelled(["embedded"])
    model = ours(training.texts, training.labels)
    theirs.fit(training.texts, training.labels)
    expected = theirs.predict_proba(held_out.texts)
    assert model.classes == list(theirs.classes_)
    np.testing.assert_allclose(model.predict_proba(held_out.texts), expected, rtol=1e-9)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    np.testing.assert_allclose(again.predict_proba(held_out.texts), expected, rtol=1e-9)
