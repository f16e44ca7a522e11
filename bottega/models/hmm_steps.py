"""The forward-backward algorithm, compiled, with Rabiner's scaling (1989, section V.A): no logs within.

Only for models whose smallest numbers stay numbers under scaling; `hmm` takes logs for the others.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
@no_type_check  # numba compiles the function itself, so nothing may be wrapped around it
def forward(start, transition, seen, alpha, scale):
    """Fill `alpha` (time, state), scaled to sum to 1 (eq. 92), and `scale` (time,), by which it was divided.

    `start` (state,) and `transition` (from, to) are probabilities, `seen` (time, state) those of what was
    seen, up to a factor a step.
    """
    n = len(start)
    for t in range(len(seen)):
        now = alpha[t]
        if t == 0:
            now[:] = start
        else:
            now[:] = 0
            for i in range(n):
                before = alpha[t - 1, i]
                for j in range(n):
                    now[j] += before * transition[i, j]
        total = 0.0
        for j in range(n):
            now[j] *= seen[t, j]
            total += now[j]
        scale[t] = total
        for j in range(n):
            now[j] /= total


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
@no_type_check
def expect(start, transition, seen, starts, begun, moved, gamma):
    """One pass over sequences `seen[starts[s]:starts[s + 1]]`; returns the sum of the logs of all scales.

    Adds to `begun` (state,) and `moved` (from, to; without the factor `transition`) the expected counts of
    eq. 40a and 40b, and fills `gamma` (time, state) of eq. 27.
    """
    n, likelihood = len(start), 0.0
    scale = np.empty(np.max(starts[1:] - starts[:-1]))
    beta, after = np.empty(n), np.empty(n)
    for s in range(len(starts) - 1):
        first, last = starts[s], starts[s + 1]
        alpha = gamma[first:last]
        forward(start, transition, seen[first:last], alpha, scale)
        beta[:] = 1
        for t in range(last - first - 1, -1, -1):
            likelihood += np.log(scale[t])
            for j in range(n):
                after[j] = seen[first + t, j] * beta[j] / scale[t]  # what the step before sees of this one
                alpha[t, j] *= beta[j]
            if t == 0:
                break
            for i in range(n):
                before, total = alpha[t - 1, i], 0.0
                for j in range(n):
                    moved[i, j] += before * after[j]
                    total += transition[i, j] * after[j]
                beta[i] = total
        begun += alpha[0]
    return likelihood
