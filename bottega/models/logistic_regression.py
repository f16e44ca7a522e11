"""Logistic regression over weighted word counts: p(class | text) ∝ exp(w_class · x + b_class).

Words are weighted by TF-IDF (Spärck Jones 1972, "A statistical interpretation of term specificity"): how
often a text has them, times how few texts have them; rows have length 1. Computed by scikit-learn. It is
discriminative: it learns p(class | text) alone, and never how a text comes about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64

from bottega.errors import InputError
from bottega.models.word_counts import (
    TermsConfig,
    check_examples,
    load_folder,
    save_folder,
    some_term,
    vectorizer_options,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

MODEL_TYPE = "bottega-logistic-regression"


@dataclass(frozen=True)
class LogisticRegressionConfig(TermsConfig):
    """`inverse_penalty`: the weight of the data against that of ½‖w‖² (scikit-learn's C); higher fits closer.

    `tfidf` False leaves the plain counts, on which the model can be compared with naive Bayes.
    """

    inverse_penalty: int | float = 1.0
    tfidf: bool = True
    max_iterations: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.inverse_penalty < math.inf or self.max_iterations < 1:
            raise InputError(
                f"inverse_penalty {self.inverse_penalty} and max_iterations {self.max_iterations}; "
                "expected a finite number above 0, and at least 1"
            )


class TfidfRegression:
    """A logistic regression: `fit` it on labelled texts, then ask for probabilities, or for its vectors.

    Words that it has not seen say nothing: a text with no known word is the zero vector, and only the biases
    decide.
    """

    def __init__(
        self, config: LogisticRegressionConfig, vectorizer: CountVectorizer, model: LogisticRegression
    ) -> None:
        self.config, self.vectorizer, self.model = config, vectorizer, model
        self.classes: Sequence[str] = [str(name) for name in model.classes_]

    @classmethod
    def fit(
        cls, texts: Sequence[str], labels: Sequence[str], config: LogisticRegressionConfig
    ) -> TfidfRegression:
        """Weigh the words, then minimise the penalised cross-entropy (by L-BFGS, which draws nothing).

        Raises InputError where the numbers of texts and labels differ, all labels are one, or no text has a
        word.
        """
        check_examples(texts, labels)
        vectorizer = _vectorizer(config)
        with some_term(config):
            rows = vectorizer.fit_transform(texts)
        return cls(config, vectorizer, _regression(config).fit(rows, np.array(labels)))

    def encode(self, texts: Sequence[str]) -> Float32[np.ndarray, "text term"]:
        """The texts' TF-IDF vectors, dense: of length 1, or 0 where a text has no known word."""
        if not texts:
            return np.empty((0, self.model.n_features_in_), dtype=np.float32)
        return self._rows(texts).astype(np.float32).toarray()

    def predict_proba(self, texts: Sequence[str]) -> Float64[np.ndarray, "text class"]:
        """The probability of each class, in the order of `classes`; the rows sum to 1."""
        if not texts:
            return np.empty((0, len(self.classes)))
        return self.model.predict_proba(self._rows(texts))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder; raises InputError where it is a file, or another kind of model is in it."""
        terms = self.vectorizer.get_feature_names_out().tolist()
        idf = getattr(self.vectorizer, "idf_", np.ones(len(terms)))
        weight, bias = self.model.coef_, self.model.intercept_
        save_folder(folder, MODEL_TYPE, self.config, self.classes, terms, idf=idf, weight=weight, bias=bias)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> TfidfRegression:
        """Read what `save_pretrained` wrote; raises InputError where it is damaged, or another model's."""
        # Of two classes there is one row of weights: that of the second.
        shapes = {"idf": ("term",), "weight": ("row", "term"), "bias": ("row",)}
        config, classes, terms, arrays = load_folder(folder, MODEL_TYPE, LogisticRegressionConfig, shapes)
        vectorizer = _vectorizer(config, terms)
        if config.tfidf:
            vectorizer.idf_ = arrays["idf"]
        model = _regression(config)
        model.classes_, model.n_features_in_ = np.array(classes), len(terms)
        model.coef_, model.intercept_ = arrays["weight"], arrays["bias"]
        return cls(config, vectorizer, model)

    def _rows(self, texts: Sequence[str]) -> csr_matrix:
        return self.vectorizer.transform(texts)


def _vectorizer(config: LogisticRegressionConfig, terms: list[str] | None = None) -> CountVectorizer:
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

    kind = TfidfVectorizer if config.tfidf else CountVectorizer
    return kind(**vectorizer_options(config), vocabulary=terms)


def _regression(config: LogisticRegressionConfig) -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=config.inverse_penalty, max_iter=config.max_iterations)
