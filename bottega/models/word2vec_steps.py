"""Word2Vec's inner loops, compiled: a stretch of sentences, one stochastic step a pair of words.

Notation of Mikolov et al. (2013b), section 2: v is a row of `vectors` (input), v′ one of `contexts` (output).
For a word w_I that predicts w_O, eq. 4 is

    log σ(v′_O · v_I) + Σ_k log σ(−v′_k · v_I),    k drawn from P(w) ∝ count(w)^¾

and its gradient at each of these rows is (label − σ(v′ · v_I)) times the other row. Threads may share the two
matrices without locks (Niu et al. 2011, "Hogwild!"): rarely do two write the same row at the same time.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from numba import njit

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@njit(cache=True, nogil=True, inline="always")
@no_type_check  # numba compiles the function itself, so nothing may be wrapped around it
def _next(state):
    """Marsaglia's xorshift (2003): the state that follows, 64 random bits."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    return state ^ (state << np.uint64(17))


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _negative(state, alias):
    """A word by Walker's alias method (1977): 32 bits choose a slot, 32 its word or its alias."""
    slot = ((state >> _HALF) * np.uint64(len(alias))) >> _HALF
    if (state & _LOW) >= np.uint64(alias[slot, 0]):
        return np.int64(alias[slot, 1])
    return np.int64(slot)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy", inline="always")
@no_type_check
def _ascend(v, gradient, contexts, target, label, rate):
    """One term of eq. 4: moves v′ of `target`, and adds to `gradient` what v is to move by."""
    dot = np.float32(0)
    for d in range(len(v)):
        dot += v[d] * contexts[target, d]
    step = rate * (label - np.float32(1) / (np.float32(1) + math.exp(-dot)))
    for d in range(len(v)):
        before = contexts[target, d]
        contexts[target, d] = before + step * v[d]
        gradient[d] += step * before


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _subsample(ids, keep, kept, state):
    """Copy the words that stay, each with its probability `keep` of 2³²; how many, and the state."""
    count = 0
    for word in ids:
        state = _next(state)
        if (state & _LOW) <= np.uint64(keep[word]):
            kept[count] = word
            count += 1
    return count, state


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
@no_type_check
def skip_gram(ids, starts, keep, alias, vectors, contexts, window, negatives, rate, state):
    """Sentences `ids[starts[s]:starts[s + 1]]`: every word predicts its neighbours. Returns the state.

    `keep` (word) are probabilities of 2³², `alias` (word, 2) the table of negatives, `vectors` and `contexts`
    (word, width) are changed in place.
    """
    kept = np.empty(np.max(starts[1:] - starts[:-1]), dtype=np.int32)
    v, gradient = np.empty(vectors.shape[1], np.float32), np.empty(vectors.shape[1], np.float32)
    rate = np.float32(rate)
    for s in range(len(starts) - 1):
        count, state = _subsample(ids[starts[s] : starts[s + 1]], keep, kept, state)
        for i in range(count):
            state = _next(state)
            reach = 1 + np.int64(((state >> _HALF) * np.uint64(window)) >> _HALF)
            centre = np.int64(kept[i])
            for j in range(max(0, i - reach), min(count, i + reach + 1)):
                if j == i:
                    continue
                for d in range(len(v)):
                    v[d] = vectors[centre, d]
                    gradient[d] = 0
                neighbour = np.int64(kept[j])
                _ascend(v, gradient, contexts, neighbour, np.float32(1), rate)
                for _ in range(negatives):
                    state = _next(state)
                    drawn = _negative(state, alias)
                    if drawn != neighbour:
                        _ascend(v, gradient, contexts, drawn, np.float32(0), rate)
                for d in range(len(v)):
                    vectors[centre, d] += gradient[d]
    return state


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
@no_type_check
def cbow(ids, starts, keep, alias, vectors, contexts, window, negatives, rate, state):
    """As `skip_gram`, but the mean of the neighbours' vectors predicts the word between them.

    Each neighbour moves by the whole gradient, as in the authors' own program, not by its share.
    """
    kept = np.empty(np.max(starts[1:] - starts[:-1]), dtype=np.int32)
    v, gradient = np.empty(vectors.shape[1], np.float32), np.empty(vectors.shape[1], np.float32)
    rate = np.float32(rate)
    for s in range(len(starts) - 1):
        count, state = _subsample(ids[starts[s] : starts[s + 1]], keep, kept, state)
        for i in range(count):
            state = _next(state)
            reach = 1 + np.int64(((state >> _HALF) * np.uint64(window)) >> _HALF)
            first, last = max(0, i - reach), min(count, i + reach + 1)
            if last - first < 2:
                continue
            v[:] = 0
            gradient[:] = 0
            for j in range(first, last):
                neighbour = np.int64(kept[j])
                if j != i:
                    for d in range(len(v)):
                        v[d] += vectors[neighbour, d]
            share = np.float32(1) / np.float32(last - first - 1)
            for d in range(len(v)):
                v[d] *= share
            centre = np.int64(kept[i])
            _ascend(v, gradient, contexts, centre, np.float32(1), rate)
            for _ in range(negatives):
                state = _next(state)
                drawn = _negative(state, alias)
                if drawn != centre:
                    _ascend(v, gradient, contexts, drawn, np.float32(0), rate)
            for j in range(first, last):
                neighbour = np.int64(kept[j])
                if j != i:
                    for d in range(len(v)):
                        vectors[neighbour, d] += gradient[d]
    return state
