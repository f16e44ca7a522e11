"""Collapsed Gibbs sampling for LDA (Griffiths and Steyvers 2004, "Finding scientific topics").

The proportions θ and the topics φ are integrated out; what is left is a topic z for every token, drawn anew
given all the others. Counts are n_dk, tokens of document d in topic k; n_kw, times that word w is in topic k;
and n_k, all tokens of topic k. They are held as 32-bit floats, which vector units multiply as they are: exact
up to 2²⁴ occurrences of one word in one topic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from numba import njit
from scipy.special import psi

from bottega.errors import InputError

Progress = Callable[[int, int], None]
_BLOCK = 16  # probabilities that are summed together when a topic is looked for
_ALPHA_STEPS = 10  # of Minka's fixed point at a time; the next sweep moves the counts anyhow
_LEAST_ALPHA = 1e-5


@dataclass(frozen=True)
class Gibbs:
    """How the sampler runs.

    Attributes:
        sweeps: over all tokens.
        learn_alpha: sweeps between two updates of α; 0 keeps it as it is.
        average: the last sweeps, whose counts are averaged: less noise than in the last sample alone.
        seed: the same seed gives the same topics.
    """

    sweeps: int = 300
    learn_alpha: int = 10
    average: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sweeps < 1 or self.learn_alpha < 0 or self.average < 1 or self.seed < 0:
            raise InputError(
                f"sweeps {self.sweeps}, learn_alpha {self.learn_alpha}, average {self.average}, seed "
                f"{self.seed}; expected at least 1 sweep, 1 of them averaged, and nothing below 0"
            )


def gibbs(
    documents: Sequence[np.ndarray],
    n_words: int,
    alpha: np.ndarray,
    eta: float,
    options: Gibbs,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Sample until the sweeps are done or Ctrl-C ends them.

    Args:
        documents: word ids of each.
        n_words: the vocabulary's size, V.
        alpha: (topic,) the prior of θ to begin with.
        eta: the symmetric prior of φ.
        options: how long, and from which seed.
        progress: told the sweeps done, and all.

    Returns:
        λ (word, topic), the parameters of the topics' posterior: counts and η. α (topic,). The sweeps done.
    """
    rng = np.random.default_rng(options.seed)
    starts, words = joined(documents)
    n_topics = len(alpha)
    topics = rng.integers(0, n_topics, len(words)).astype(np.int32)
    owners = np.repeat(np.arange(len(documents)), np.diff(starts))
    document_topic = np.zeros((len(documents), n_topics), np.float32)
    word_topic = np.zeros((n_words, n_topics), np.float32)
    np.add.at(document_topic, (owners, topics), 1)
    np.add.at(word_topic, (words, topics), 1)
    per_topic = np.bincount(topics, minlength=n_topics)
    total, averaged, done = np.zeros((n_words, n_topics)), 0, 0
    try:
        for done in range(1, options.sweeps + 1):
            sweep(
                starts,
                words,
                topics,
                document_topic,
                word_topic,
                per_topic,
                alpha.astype(np.float32),
                np.float32(eta),
                rng,
            )
            if options.learn_alpha and done % options.learn_alpha == 0:
                alpha = learnt_alpha(document_topic, alpha)
            if done > options.sweeps - options.average:
                total += word_topic
                averaged += 1
            if progress:
                progress(done, options.sweeps)
    except KeyboardInterrupt:
        if done == 0:
            raise
    return (total / averaged if averaged else word_topic.astype(np.float64)) + eta, alpha, done


def joined(documents: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Where each document starts, (document + 1,) int64, and the words of all, (token,) int32."""
    starts = np.concatenate([[0], np.cumsum([len(document) for document in documents])]).astype(np.int64)
    return starts, np.concatenate([np.empty(0, np.int32), *documents]).astype(np.int32)


@njit(cache=True, nogil=True, fastmath=True)
@no_type_check
def sweep(starts, words, topics, document_topic, word_topic, per_topic, alpha, eta, rng):
    """Draw every token's topic once, in place, by Griffiths and Steyvers' eq. 5 with α for each topic:

    P(z = k | the others) ∝ (n_dk + α_k) (n_kw + η) / (n_k + V η)    where the token itself is not counted.
    """
    n_words, n_topics = word_topic.shape
    one, zero = np.float32(1), np.float32(0)
    first, last = np.empty(n_topics, np.float32), np.empty(n_topics, np.float32)  # the factors with d, with k
    p = np.empty(n_topics, np.float32)
    for k in range(n_topics):
        last[k] = one / (np.float32(per_topic[k]) + n_words * eta)
    for d in range(len(starts) - 1):
        for k in range(n_topics):
            first[k] = document_topic[d, k] + alpha[k]
        for i in range(starts[d], starts[d + 1]):
            row, k = word_topic[words[i]], topics[i]
            row[k] -= one
            first[k] -= one
            per_topic[k] -= 1
            last[k] = one / (np.float32(per_topic[k]) + n_words * eta)
            document_topic[d, k] -= one
            total = zero
            for j in range(n_topics):
                p[j] = first[j] * (row[j] + eta) * last[j]
                total += p[j]
            k = _draw(p, np.float32(rng.random()) * total)
            topics[i] = k
            row[k] += one
            first[k] += one
            per_topic[k] += 1
            last[k] = one / (np.float32(per_topic[k]) + n_words * eta)
            document_topic[d, k] += one


@njit(cache=True, nogil=True, fastmath=True, inline="always")
@no_type_check
def _draw(p, left):
    """Where the running sum of `p` exceeds `left`; whole blocks first, for their sums are vectorised."""
    k = 0
    while k + _BLOCK < len(p):
        block = np.float32(0)
        for j in range(k, k + _BLOCK):
            block += p[j]
        if left < block:
            break
        left -= block
        k += _BLOCK
    while k < len(p) - 1:
        left -= p[k]
        if left < 0:
            break
        k += 1
    return k


def learnt_alpha(document_topic: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The α that makes the documents' topic counts likelier, by Minka's fixed point (2000, eq. 55).

        α_k ← α_k Σ_d [ψ(n_dk + α_k) − ψ(α_k)] / Σ_d [ψ(n_d + Σα) − ψ(Σα)]

    `document_topic` is n_dk (document, topic). Empty documents say nothing.
    """
    lengths = document_topic.sum(1, dtype=np.float64)
    for _ in range(_ALPHA_STEPS):
        above = (psi(document_topic + alpha) - psi(alpha)).sum(0)
        below = (psi(lengths + alpha.sum()) - psi(alpha.sum())).sum()
        alpha = np.maximum(alpha * above / below, _LEAST_ALPHA) if below > 0 else alpha
    return alpha
