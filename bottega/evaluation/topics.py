"""How good topics are: the perplexity of held-out halves, and coherence. For any topics, not only ours.

Topics are (word, topic) probabilities φ, documents are word ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, no_type_check

import numpy as np
from numba import njit

from bottega.errors import InputError
from bottega.models.lda import fold_in
from bottega.models.lda_gibbs import joined

# Röder, Both and Hinneburg (2015), section 3.3: a pair that was never seen is improbable, not impossible.
_EPSILON = 1e-12


@dataclass(frozen=True)
class Completion:
    """The log-probability of `count` tokens in nats, by document completion: an estimate, not a bound."""

    total: float
    count: int
    kind: str = "completion"

    @property
    def perplexity(self) -> float:
        """e to the mean loss of a token."""
        return float(np.exp(-self.total / self.count))


def complete_documents(
    documents: Sequence[np.ndarray], topics: np.ndarray, alpha: np.ndarray, seed: int = 0
) -> Completion:
    """Document completion (Wallach, Murray, Salakhutdinov and Mimno 2009, section 5): half tells about half.

    The tokens of each document are dealt at random into two halves. From the first, θ is folded in under the
    topics and their prior α (`models.lda.fold_in`); a token w of the second has the probability Σ_k θ_k φ_kw.
    The deal follows from the seed alone: other topics of the same vocabulary are measured on the same halves.

    Raises InputError where no document has two words that are known.
    """
    rng = np.random.default_rng(seed)
    dealt = [rng.permutation(document) for document in documents if len(document) > 1]
    if not dealt:
        raise InputError("no held-out document has two known words; give more text to hold out")
    theta = fold_in([document[: len(document) // 2] for document in dealt], topics, alpha)
    nats = 0.0
    for mixture, document in zip(theta, dealt, strict=True):
        nats += float(np.log(topics[document[len(document) // 2 :]] @ mixture).sum())
    return Completion(nats, sum(len(document) - len(document) // 2 for document in dealt))


def coherence(
    top: Sequence[Sequence[int]],
    documents: Sequence[np.ndarray],
    measure: Literal["npmi", "umass"] = "npmi",
    window: int = 10,
) -> list[float]:
    """How well the top words of each topic go together in the documents; higher is better.

    "npmi": the mean normalised pointwise mutual information of all pairs, −1 to 1, counted in windows of
    `window` tokens (Bouma 2009; Lau, Newman and Baldwin 2014). "umass": the mean of log p(word | one
    before it in the list), counted in documents (Mimno et al. 2011, with Röder's ε in place of their 1).

    Args:
        top: word ids of each topic, the foremost first.
        documents: word ids in their order.
        measure: which.
        window: of "npmi"; a shorter document is one window.
    """
    wanted = sorted({word for words in top for word in words})
    place = {word: index for index, word in enumerate(wanted)}
    starts, words = joined(documents)
    places = np.full(max([words.max(initial=0), *wanted]) + 1, -1, np.int32)
    places[wanted] = np.arange(len(wanted))
    together, total = _count_pairs(starts, places[words], len(wanted), window if measure == "npmi" else 0)
    p = together / max(total, 1)
    scores = []
    for topic in top:
        pairs = combinations([place[word] for word in topic], 2)
        formula = _npmi if measure == "npmi" else _log_conditional
        scores.append(float(np.mean([formula(p, earlier, later) for earlier, later in pairs])))
    return scores


def _npmi(p: np.ndarray, a: int, b: int) -> float:
    joint = p[a, b] + _EPSILON
    return float(np.log(joint / (p[a, a] * p[b, b])) / -np.log(joint))


def _log_conditional(p: np.ndarray, earlier: int, later: int) -> float:
    return float(np.log((p[earlier, later] + _EPSILON) / p[earlier, earlier]))


@njit(cache=True, nogil=True)
@no_type_check
def _count_pairs(starts, places, n, window):
    """In how many windows each pair of the n words stands, a word with itself on the diagonal; all windows.

    A `window` of 0 is the whole document. Words that do not count have the place −1.
    """
    together = np.zeros((n, n), np.int64)
    inside, present = np.zeros(n, np.int64), np.empty(n, np.int64)
    total = 0
    for d in range(len(starts) - 1):
        document = places[starts[d] : starts[d + 1]]
        if len(document) == 0:
            continue
        width = len(document) if window == 0 else min(window, len(document))
        for first in range(len(document) - width + 1):
            total += 1
            found = 0
            for i in range(first, first + width):
                word = document[i]
                if word >= 0 and inside[word] != total:
                    inside[word] = total
                    present[found] = word
                    found += 1
            for i in range(found):
                for j in range(found):
                    together[present[i], present[j]] += 1
    return together, total
