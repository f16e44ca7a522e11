"""Multinomial naive Bayes: a class draws the words of a text one by one, each without regard to the others.

McCallum and Nigam (1998), "A comparison of event models for naive Bayes text classification", section 2.2;
computed by scikit-learn. It is generative: it learns p(text | class) and p(class); Bayes' rule decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

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
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

MODEL_TYPE = "bottega-naive-bayes"


@dataclass(frozen=True)
class NaiveBayesConfig(TermsConfig):
    """`alpha` is added to the count of every term in every class (Laplace's 1), so that none has zero."""

    alpha: int | float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha < math.inf:
            raise InputError(f"alpha is {self.alpha}; expected a finite number above 0, such as 1")


class NaiveBayes:
    """A naive Bayes classifier: `fit` it on labelled texts, then ask for probabilities.

    Words that it has not seen say nothing, so a text with no known word has the classes' own probabilities.
    """

    def __init__(self, config: NaiveBayesConfig, counter: CountVectorizer, model: MultinomialNB) -> None:
        self.config, self.counter, self.model = config, counter, model
        self.classes: Sequence[str] = [str(name) for name in model.classes_]

    @classmethod
    def fit(cls, texts: Sequence[str], labels: Sequence[str], config: NaiveBayesConfig) -> NaiveBayes:
        """Count the words of each class.

        Raises InputError where the numbers of texts and labels differ, all labels are one, or no text has a
        word.
        """
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.naive_bayes import MultinomialNB

        check_examples(texts, labels)
        counter = CountVectorizer(**vectorizer_options(config))
        with some_term(config):
            counts = counter.fit_transform(texts)
        return cls(config, counter, MultinomialNB(alpha=config.alpha).fit(counts, np.array(labels)))

    def predict_proba(self, texts: Sequence[str]) -> Float64[np.ndarray, "text class"]:
        """The probability of each class, in the order of `classes`; the rows sum to 1."""
        if not texts:
            return np.empty((0, len(self.classes)))
        return self.model.predict_proba(self.counter.transform(texts))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder; raises InputError where it is a file, or another kind of model is in it."""
        save_folder(
            folder,
            MODEL_TYPE,
            self.config,
            self.classes,
            self.counter.get_feature_names_out().tolist(),
            log_prior=self.model.class_log_prior_,
            log_likelihood=self.model.feature_log_prob_,
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> NaiveBayes:
        """Read what `save_pretrained` wrote; raises InputError where it is damaged, or another model's."""
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.naive_bayes import MultinomialNB

        shapes = {"log_prior": ("class",), "log_likelihood": ("class", "term")}
        config, classes, terms, arrays = load_folder(folder, MODEL_TYPE, NaiveBayesConfig, shapes)
        model = MultinomialNB(alpha=config.alpha)
        model.classes_, model.n_features_in_ = np.array(classes), len(terms)
        model.class_log_prior_, model.feature_log_prob_ = arrays["log_prior"], arrays["log_likelihood"]
        return cls(config, CountVectorizer(**vectorizer_options(config), vocabulary=terms), model)
