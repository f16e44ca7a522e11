"""log Z of a restricted Boltzmann machine: summed up where it is small, else by annealed importance sampling.

Salakhutdinov & Murray (2008), "On the quantitative analysis of deep belief networks", after Neal (2001). Z is
the sum of exp(-E) over all states, 2^784 pictures for MNIST; with it p(v) = exp(-F(v)) / Z is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bottega.errors import InputError
from bottega.models.rbm import RBM, precise

MOST_UNITS = 20  # of a layer all of whose states are gone through
STATES = 4096  # of them at a time


@dataclass(frozen=True)
class LogPartition:
    """log Z in nats, how it was found, and one standard error of it, 0 where it is exact."""

    value: float
    kind: Literal["exact", "ais"]
    error: float = 0.0


def log_partition(rbm: RBM, seed: int = 0) -> LogPartition:
    """By enumeration where a layer has at most 20 units that can be, else by AIS with its defaults."""
    return enumerated(rbm) if _fewest(rbm) <= MOST_UNITS else annealed(rbm, seed=seed)


@torch.no_grad()
def enumerated(rbm: RBM) -> LogPartition:
    """log Z in float64, going through all states of the smaller layer; the other is summed in closed form.

    Raises InputError where that layer has more than 20 units. Gaussian pixels cannot be gone through.
    """
    if _fewest(rbm) > MOST_UNITS:
        raise InputError(
            f"2^{_fewest(rbm)} states cannot be gone through; expected at most {MOST_UNITS} units in a layer"
        )
    of_hidden = rbm.config.n_hidden == _fewest(rbm)
    W, b, c = (p.double() for p in (rbm.weight, rbm.visible_bias, rbm.hidden_bias))
    terms = []
    for states in _all_states(_fewest(rbm), W.device):
        if not of_hidden:  # Σ_h exp(-E(v, h)) = exp(b·v) Π_j (1 + exp(c_j + (v·W)_j))
            terms.append((states @ b + F.softplus(states @ W + c).sum(-1)).logsumexp(0))
        elif rbm.config.visible == "bernoulli":  # Σ_v exp(-E(v, h)) = exp(c·h) Π_i (1 + exp(b_i + (W·h)_i))
            terms.append((states @ c + F.softplus(states @ W.T + b).sum(-1)).logsumexp(0))
        else:  # ∫ exp(-E(v, h)) dv = (2πσ²)^(pixels/2) exp(c·h + b·W·h/σ + |W·h|²/2)
            mean = states @ W.T
            energy = states @ c + mean @ b / rbm.config.sigma + 0.5 * mean.square().sum(-1)
            terms.append((energy + _log_normal_constant(rbm)).logsumexp(0))
    return LogPartition(float(torch.stack(terms).logsumexp(0)), "exact")


def salakhutdinov_murray() -> Float[np.ndarray, " n"]:
    """Their inverse temperatures for MNIST: 500 from 0 to 0.5, 4,000 to 0.9, 10,000 to 1 (section 5)."""
    parts = (0.0, 0.5, 500), (0.5, 0.9, 4_000), (0.9, 1.0, 10_000)
    return np.concatenate([*(np.linspace(*part, endpoint=False) for part in parts), [1.0]])


@torch.no_grad()
def annealed(
    rbm: RBM, betas: Sequence[int | float] | None = None, n_chains: int = 100, seed: int = 0
) -> LogPartition:
    """log Z by annealed importance sampling, with the standard error that the weights' variance tells.

    Each chain goes from the machine without hidden units, whose Z is known, to this one over the inverse
    temperatures `betas` (from 0 to 1, rising; by default the 14,500 steps of Salakhutdinov & Murray). Ẑ is
    the mean of the weights, which is right on average; log Ẑ is below on average, so a log p with it is
    above. The error is honest only where no chain missed a part of the state space that matters.
    """
    path = salakhutdinov_murray() if betas is None else np.asarray(betas, np.float64)
    if len(path) < 2 or path[0] != 0 or path[-1] != 1 or not (np.diff(path) > 0).all():
        raise InputError("betas must rise from 0 to 1")
    if n_chains < 2:
        raise InputError(f"n_chains must be at least 2, for without spread there is no error, not {n_chains}")
    generator = torch.Generator(device=rbm.weight.device).manual_seed(seed)
    v = rbm.noise(n_chains, generator)
    log_w = torch.zeros(n_chains, dtype=torch.float64, device=v.device)
    for below, beta in zip(path[:-1].tolist(), path[1:].tolist(), strict=True):
        x = precise(rbm.hidden_input(v))
        # log p*_β(v) - log p*_below(v), eq. 16 and 18: the two have all but what follows in common.
        visible = rbm.visible_energy(v, rbm.base) - rbm.visible_energy(v, rbm.visible_bias)
        log_w += (beta - below) * visible + (F.softplus(x * beta) - F.softplus(x * below)).sum(-1)
        v = rbm.draw(rbm.up_and_down(x, generator, beta), generator)
    weights = (log_w - log_w.max()).exp()
    mean, deviation = float(weights.mean()), float(weights.std())
    value = _log_z_of_base(rbm) + float(log_w.max()) + math.log(mean)
    return LogPartition(value, "ais", deviation / mean / math.sqrt(n_chains))


def _log_z_of_base(rbm: RBM) -> float:
    """Hidden units without weights and biases count twice each, whatever the pixels are."""
    hidden = rbm.config.n_hidden * math.log(2)
    if rbm.config.visible == "gaussian":
        return hidden + _log_normal_constant(rbm)
    return hidden + float(F.softplus(rbm.base.double()).sum())


def _log_normal_constant(rbm: RBM) -> float:
    return 0.5 * rbm.config.pixels * math.log(2 * math.pi * rbm.config.sigma**2)


def _fewest(rbm: RBM) -> int:
    """Units of the smaller layer that has finitely many states."""
    if rbm.config.visible == "gaussian":
        return rbm.config.n_hidden
    return min(rbm.config.n_hidden, rbm.config.pixels)


def _all_states(units: int, device: torch.device) -> Iterator[Float[Tensor, "n units"]]:
    """The 2^units vectors of zeros and ones, some at a time."""
    places = torch.arange(units, device=device)
    for start in range(0, 2**units, STATES):
        numbers = torch.arange(start, min(start + STATES, 2**units), device=device)
        yield (numbers[:, None] >> places & 1).double()
