"""Online variational Bayes for LDA (Hoffman, Blei and Bach 2010).

The posterior is approximated by independent parts: θ_d ~ Dirichlet(γ_d), φ_k ~ Dirichlet(λ_k), and for every
word of a document its own distribution over topics. A batch of documents gives the λ that would be best if
the whole corpus looked like it, and λ moves towards that by a step that shrinks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, no_type_check

import numpy as np
from numba import njit
from scipy.special import psi

from bottega.errors import InputError
from bottega.models.lda_gibbs import Progress

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_LOCAL_STEPS, _LOCAL_TOLERANCE = 100, 1e-3  # of γ, as in the paper's section 4 and its authors' program
_TINY = 1e-100


@dataclass(frozen=True)
class OnlineBayes:
    """How λ is learnt.

    Attributes:
        passes: over all documents.
        batch: documents between two steps of λ.
        delay: τ₀; the larger, the less the first steps count.
        decay: κ, from above ½ to 1; the step number t has the length ρ = (τ₀ + t)^−κ.
        seed: the same seed gives the same topics.
    """

    passes: int = 20
    batch: int = 128
    delay: int | float = 10.0
    decay: int | float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        if self.passes < 1 or self.batch < 1 or self.delay < 0 or self.seed < 0:
            raise InputError(
                f"passes {self.passes}, batch {self.batch}, delay {self.delay}, seed {self.seed}; expected "
                "at least 1 pass and 1 document in a batch, and nothing below 0"
            )
        if not 0.5 < self.decay <= 1:
            raise InputError(f"decay is {self.decay}; it converges from above 0.5 to 1, such as 0.7")


def online_bayes(
    counts: csr_matrix,
    alpha: np.ndarray,
    eta: float,
    options: OnlineBayes,
    progress: Progress | None = None,
) -> tuple[np.ndarray, int]:
    """Algorithm 2, until the passes are done or Ctrl-C ends them.

    Args:
        counts: (document, word) how often each word stands in each document.
        alpha: (topic,) the prior of θ.
        eta: the symmetric prior of φ.
        options: how long, in which steps, and from which seed.
        progress: told the batches done, and all.

    Returns:
        λ (word, topic), the parameters of the topics' posterior. The batches done.
    """
    rng = np.random.default_rng(options.seed)
    n_documents, n_words = counts.shape
    batches = math.ceil(n_documents / options.batch)
    lambda_ = rng.gamma(100, 0.01, (n_words, len(alpha)))
    done = 0
    try:
        for _ in range(options.passes):
            order = rng.permutation(n_documents)
            for first in range(0, n_documents, options.batch):
                some = counts[order[first : first + options.batch]]
                scale = n_documents / some.shape[0]
                rate = (options.delay + done + 1) ** -options.decay
                target = eta + scale * expected_counts(some, lambda_, alpha)
                lambda_ = (1 - rate) * lambda_ + rate * target
                done += 1
                if progress:
                    progress(done, options.passes * batches)
    except KeyboardInterrupt:
        if done == 0:
            raise
    return lambda_, done


def expected_counts(counts: csr_matrix, lambda_: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """How often each word is in each topic, by the best γ of these documents: (word, topic)."""
    topics = np.exp(psi(lambda_) - psi(lambda_.sum(0)))  # exp E[log φ]
    gathered = np.zeros_like(topics)
    _local(counts.indptr, counts.indices, counts.data.astype(np.float64), topics, alpha, gathered)
    return gathered * topics


@njit(cache=True, nogil=True, fastmath=True)
@no_type_check
def _local(starts, words, counts, topics, alpha, gathered):
    """The E step: γ of each document by eq. 5, and Σ_d n_dw E[θ]_dk / normaliser_dw added to `gathered`.

    With E = exp E[log θ] and F = exp E[log φ], a word's share of topic k is E_k F_kw / Σ_j E_j F_jw: the
    shares themselves need not be kept, only the normaliser of each word.
    """
    n_topics = len(alpha)
    gamma, before, theta = np.ones(n_topics), np.empty(n_topics), np.empty(n_topics)
    for d in range(len(starts) - 1):
        begin, end = starts[d], starts[d + 1]
        gamma[:] = 1
        _exp_expected_log(gamma, theta)
        for _ in range(_LOCAL_STEPS):
            for k in range(n_topics):
                before[k] = gamma[k]
                gamma[k] = 0
            for i in range(begin, end):
                row = topics[words[i]]
                share = counts[i] / _dot(theta, row)
                for k in range(n_topics):
                    gamma[k] += share * row[k]
            change = 0.0
            for k in range(n_topics):
                gamma[k] = alpha[k] + theta[k] * gamma[k]
                change += abs(gamma[k] - before[k])
            _exp_expected_log(gamma, theta)
            if change < _LOCAL_TOLERANCE * n_topics:
                break
        for i in range(begin, end):
            share = counts[i] / _dot(theta, topics[words[i]])
            for k in range(n_topics):
                gathered[words[i], k] += share * theta[k]


@njit(cache=True, nogil=True, fastmath=True, inline="always")
@no_type_check
def _dot(a, b):
    total = _TINY
    for k in range(len(a)):
        total += a[k] * b[k]
    return total


@njit(cache=True, nogil=True)
@no_type_check
def _exp_expected_log(gamma, out):
    """exp E[log θ] of a Dirichlet: exp(ψ(γ_k) − ψ(Σγ))."""
    whole = _digamma(gamma.sum())
    for k in range(len(gamma)):
        out[k] = math.exp(_digamma(gamma[k]) - whole)


@njit(cache=True, nogil=True)
@no_type_check
def _digamma(x):
    """ψ(x) for x > 0: by ψ(x) = ψ(x + 1) − 1/x up to 6, from there on by its asymptotic series."""
    shift = 0.0
    while x < 6:
        shift -= 1 / x
        x += 1
    square = 1 / (x * x)
    series = square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square * (1 / 240 - square / 132))))
    return shift + math.log(x) - 0.5 / x - series
