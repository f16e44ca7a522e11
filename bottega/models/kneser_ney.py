"""Interpolated modified Kneser–Ney smoothing of n-gram counts, of any order, over token ids.

Chen and Goodman (1998), "An empirical study of smoothing techniques for language modeling", section 3; the
adjusted counts, the fallback and the uniform distribution at the bottom are those of Heafield et al. (2013).

An n-gram is one integer. Its key is `rank of its context << token_bits | its last token`: the context is the
n-gram without its last token, and its rank the place it has among the sorted keys of the order below. So
counting an order is one sort of 64-bit integers, whatever the order, and looking one up is a binary search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, Integer

from bottega.errors import InputError

Tokens = Integer[np.ndarray, "_"] | Sequence[int]  # the ids of one document
Progress = Callable[[str, float], None]  # what is being done, and the fraction of the whole that is behind

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # where the counts of counts give none, as on tiny or deduplicated text


@dataclass(frozen=True)
class NgramConfig:
    """N-grams of up to `order` tokens, ids from 0 to `vocab_size` - 1, documents parted by `end_of_text`."""

    order: int
    vocab_size: int
    end_of_text: int

    def __post_init__(self) -> None:
        if self.order < 1:
            raise InputError(f"the order of an n-gram model is at least 1, not {self.order}")
        if not 0 <= self.end_of_text < self.vocab_size:
            raise InputError(f"end_of_text {self.end_of_text} is outside the vocabulary of {self.vocab_size}")

    @property
    def token_bits(self) -> int:
        """Bits that the last token takes in a key."""
        return (self.vocab_size - 1).bit_length()


@dataclass(frozen=True)
class Counts:
    """The distinct n-grams of one order in a corpus, sorted by key."""

    keys: Int64[np.ndarray, " ngrams"]
    count: Int64[np.ndarray, " ngrams"]
    suffix: Int32[np.ndarray, " ngrams"]  # rank, in the order below, of the n-gram without its first token


@dataclass(frozen=True)
class Level:
    """One order of a model: n-grams sorted by key, and in nats p(last token | context) and γ(n-gram)."""

    keys: Int64[np.ndarray, " ngrams"]
    log_prob: Float32[np.ndarray, " ngrams"]
    log_backoff: Float32[np.ndarray, " ngrams"]


def join_documents(documents: Iterable[Tokens], config: NgramConfig) -> Int32[np.ndarray, " time"]:
    """One stream of all documents, an end-of-text before, between and after them.

    That token is the sentence start of the n-grams that follow it and the sentence end of those it closes.

    Raises:
        InputError: an id is outside the vocabulary.
    """
    boundary = np.array([config.end_of_text], dtype=np.int32)
    pieces = [boundary]
    for document in documents:
        ids = np.asarray(document)
        if ids.size and not (np.issubdtype(ids.dtype, np.integer) and ids.ndim == 1):
            raise InputError(f"a document is a row of token ids, not {ids.dtype} of shape {ids.shape}")
        if ids.size and (ids.min() < 0 or ids.max() >= config.vocab_size):
            worst = ids.max() if ids.max() >= config.vocab_size else ids.min()
            raise InputError(f"token id {worst} is outside the model's vocabulary of {config.vocab_size}")
        pieces += [ids.astype(np.int32), boundary]
    return np.concatenate(pieces)


def count_ngrams(
    stream: Int32[np.ndarray, " time"], config: NgramConfig, on_progress: Progress | None = None
) -> list[Counts]:
    """Count the n-grams of orders 1 to `config.order`; none reaches across a document's start.

    `stream` is what `join_documents` gives. One sort an order: O(order · time · log time).
    """
    vocabulary = np.arange(config.vocab_size, dtype=np.int64)
    unigrams = np.bincount(stream[1:], minlength=config.vocab_size)
    counts = [Counts(vocabulary, unigrams, np.zeros(config.vocab_size, dtype=np.int32))]
    last = stream[1:]
    ranks = last  # ranks[t]: of the n-gram of the current order that ends at last[t]; -1 where there is none
    context = stream[:-1]  # the same, of its context; an end-of-text is a start here
    for n in range(2, config.order + 1):
        if on_progress:
            on_progress(f"counting {n}-grams", (n - 2) / config.order)
        keys = (context.astype(np.int64) << config.token_bits) | last  # negative where there is no context
        order = np.argsort(keys)
        keys = keys[order]
        first = np.searchsorted(keys, 0)
        keys, order = keys[first:], order[first:]
        new = np.ones(len(keys), dtype=bool)
        np.not_equal(keys[1:], keys[:-1], out=new[1:])
        starts = np.flatnonzero(new)
        count = np.diff(starts, append=len(keys))
        counts.append(Counts(keys[starts], count, ranks[order[starts]]))
        ranks = np.full(len(last), -1, dtype=np.int32)
        ranks[order] = np.cumsum(new, dtype=np.int32) - 1
        context = np.concatenate([np.array([-1], dtype=np.int32), ranks[:-1]])
        context[1:][last[:-1] == config.end_of_text] = -1
    return counts


def adjusted_counts(counts: Sequence[Counts], order: int) -> list[Int64[np.ndarray, " ngrams"]]:
    """What each order counts in a model of `order`: at the top the tokens, below the distinct tokens before.

    An n-gram that starts a document has nothing before it and keeps its plain count.
    """
    adjusted = []
    for level, above in pairwise(counts[:order]):
        continuations = np.bincount(above.suffix, minlength=len(level.keys))
        adjusted.append(np.where(continuations > 0, continuations, level.count))
    return [*adjusted, counts[order - 1].count]


def discounts(adjusted: Int64[np.ndarray, " ngrams"]) -> Float64[np.ndarray, 4]:
    """The discounts of counts 0, 1, 2 and 3 or more (Chen and Goodman 1998, equation 26).

    Where a count of counts is zero, or a discount falls outside (0, count], the whole order takes
    `FALLBACK_DISCOUNTS`: the closed form then says nothing, and a discount of zero would make a
    probability of zero.
    """
    n = np.bincount(np.minimum(adjusted, 5), minlength=6).astype(np.float64)
    fallback = np.array([0.0, *FALLBACK_DISCOUNTS])
    if (n[1:4] == 0).any():
        return fallback
    j = np.arange(1.0, 4.0)
    closed_form = j - (j + 1) * n[1] / (n[1] + 2 * n[2]) * n[2:5] / n[1:4]
    if ((closed_form <= 0) | (closed_form > j)).any():
        return fallback
    return np.concatenate([[0.0], closed_form])


def estimate(counts: Sequence[Counts], config: NgramConfig) -> list[Level]:
    """The smoothed model of `config.order`; `counts` may hold higher orders too, which it leaves aside.

    With a the adjusted count, D the discount and h' the context h without its first token,

        p(w | h) = (a(hw) - D(a(hw))) / Σ_v a(hv) + γ(h) p(w | h'),    γ(h) = Σ_v D(a(hv)) / Σ_v a(hv),

    down to the empty context, whose p(w | h') is 1 / vocab_size.
    """
    levels: list[Level] = []
    lower, n_contexts = np.array([1 / config.vocab_size]), 1
    for level, a in zip(counts, adjusted_counts(counts, config.order), strict=False):
        context = level.keys >> config.token_bits
        discount = discounts(a)[np.minimum(a, 3)]
        total = np.bincount(context, weights=a, minlength=n_contexts)
        held_back = np.bincount(context, weights=discount, minlength=n_contexts)
        gamma = np.divide(held_back, total, out=np.ones(n_contexts), where=total > 0)
        lower = (a - discount) / total[context] + gamma[context] * lower[level.suffix]
        if levels:
            levels[-1].log_backoff[:] = np.log(gamma)
        n_contexts = len(level.keys)
        no_backoff = np.zeros(n_contexts, dtype=np.float32)
        levels.append(Level(level.keys, np.log(lower).astype(np.float32), no_backoff))
    return levels


def check_levels(levels: Sequence[Level], config: NgramConfig) -> None:
    """Raise ValueError where the levels are not a model of `config`: every later look-up relies on this."""
    below = 1
    for n, level in enumerate(levels, 1):
        if n == 1 and not np.array_equal(level.keys, np.arange(config.vocab_size)):
            raise ValueError(f"the unigrams are not the vocabulary of {config.vocab_size}")
        if (level.keys[1:] <= level.keys[:-1]).any():
            raise ValueError(f"the {n}-grams are not sorted")
        if level.keys.size and (level.keys[0] < 0 or level.keys[-1] >> config.token_bits >= below):
            raise ValueError(f"a {n}-gram has no context of order {n - 1}")
        if (level.keys & ((1 << config.token_bits) - 1) >= config.vocab_size).any():
            raise ValueError(f"a {n}-gram ends outside the vocabulary of {config.vocab_size}")
        finite = np.isfinite(level.log_backoff).all() and np.isfinite(level.log_prob).all()
        if not finite or (level.log_prob > 1e-6).any():
            raise ValueError(f"a log-probability of order {n} is not a number, or above zero")
        below = len(level.keys)


def find_keys(
    keys: Int64[np.ndarray, " ngrams"], wanted: Int64[np.ndarray, " queries"]
) -> Int32[np.ndarray, " queries"]:
    """The place of each wanted key among the sorted ones, -1 where it is absent."""
    if not len(keys):
        return np.full(len(wanted), -1, dtype=np.int32)
    order = np.argsort(wanted)  # sorted queries walk through memory: many times faster than at random
    wanted = wanted[order]
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found = np.empty(len(wanted), dtype=np.int32)
    found[order] = np.where(keys[places] == wanted, places, -1)
    return found
