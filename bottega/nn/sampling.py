"""How the next token is chosen: penalties, temperature, truncation, and noise that belongs to the row alone.

The order of the rule, for each row: logit bias, repetition penalty, presence and frequency penalties,
temperature, top-k, top-p (over what top-k left, renormalised), min-p (likewise), one draw. Log-probabilities
are *raw*: those of the model's own distribution, before any of this.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bottega.errors import WorkError
from bottega.nn.sampling_params import Number, SamplingParams


@dataclass(eq=False)
class Row:
    """One sequence that is being continued: what it asks for and what it holds so far.

    `choice` tells apart the continuations of one prompt under one seed; `score_prompt` asks for the prompt's
    own log-probabilities.
    """

    prompt: list[int]
    params: SamplingParams  # with its seed drawn
    choice: int = 0
    score_prompt: bool = False
    output: list[int] = field(default_factory=list)


def choose(logits: Float[Tensor, "row vocabulary"], rows: Sequence[Row]) -> list[int]:
    """Draw the next token of each row from the logits that follow it.

    A row's draw depends on its own logits, parameters and history only, never on its companions.
    Raises WorkError where the logits are not finite: the model's weights are broken.
    """
    if not bool(logits.isfinite().all()):
        raise WorkError("the model's logits are not finite; its weights are damaged or have diverged")
    scores = logits.to(torch.float32, copy=True)
    for i, row in enumerate(rows):
        _penalise(scores[i], row)
    likeliest: list[int] = scores.argmax(-1).tolist()
    warm = [i for i, row in enumerate(rows) if row.params.temperature > 0]
    if not warm:
        return likeliest
    drawn = _draw(scores[warm], [rows[i] for i in warm])
    for i, token in zip(warm, drawn, strict=True):
        likeliest[i] = token
    return likeliest


def _penalise(scores: Float[Tensor, " vocabulary"], row: Row) -> None:
    """Apply bias and penalties in place."""
    params = row.params
    for token, bias in params.logit_bias.items():
        scores[token] += bias
    if not params.penalises:
        return
    seen = torch.tensor(sorted({*row.prompt, *row.output}), dtype=torch.long, device=scores.device)
    # The paper divides, supposing positive logits; dividing a negative one would raise it.
    held, penalty = scores[seen], params.repetition_penalty
    scores[seen] = torch.where(held > 0, held / penalty, held * penalty)
    counts = Counter(row.output)
    if counts:
        tokens = torch.tensor(list(counts), device=scores.device)
        times = torch.tensor(list(counts.values()), device=scores.device)
        scores[tokens] -= params.presence_penalty + params.frequency_penalty * times


def _draw(scores: Float[Tensor, "row vocabulary"], rows: Sequence[Row]) -> list[int]:
    """Sample by inverting each row's cumulative distribution at its own uniform number."""
    device = scores.device
    scores = scores / _column([row.params.temperature for row in rows], device)
    # Rows are cut in groups of one top-k, so that the cost is that of their own k and ties fall as if alone.
    for k in {row.params.top_k for row in rows}:
        group = [i for i, row in enumerate(rows) if row.params.top_k == k and (k or row.params.top_p < 1)]
        if group:
            scores[group] = _truncate(scores[group], k, [rows[i].params.top_p for i in group])
    min_p = _column([row.params.min_p for row in rows], device)
    scores = scores.masked_fill(scores < scores.amax(-1, keepdim=True) + min_p.log(), -math.inf)
    # In float32 the sum over 50,000 tokens would lose those that are less likely than 1e-7.
    mass = scores.double().softmax(-1).cumsum(-1)
    total = mass[:, -1:].contiguous()
    noise = [uniform(row.params.seed, row.choice, len(row.output)) for row in rows]
    drawn = torch.searchsorted(mass, _column(noise, device, torch.double) * total, right=True)
    # Rounding may carry the number up to the total: then it is the last token that has any mass.
    last = torch.searchsorted(mass, total)
    return torch.minimum(drawn, last).flatten().tolist()


def _truncate(
    scores: Float[Tensor, "row vocabulary"], top_k: int, top_p: Sequence[Number]
) -> Float[Tensor, "row vocabulary"]:
    """Mask what top-k and top-p leave out."""
    if 0 < top_k < scores.shape[-1]:
        ordered, ids = scores.topk(top_k, dim=-1)  # much cheaper than sorting all
    else:
        ordered, ids = scores.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    # A token stays while those before it fall short of p; the first stays always, even at p = 0.
    limit = _column(top_p, scores.device)
    beyond = (before >= limit) & (limit < 1)
    beyond[:, 0] = False
    return torch.full_like(scores, -math.inf).scatter(-1, ids, ordered.masked_fill(beyond, -math.inf))


def _column(
    values: Sequence[Number], device: torch.device, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "row 1"]:
    return torch.tensor(values, dtype=dtype, device=device)[:, None]


def uniform(seed: int | None, choice: int, position: int) -> float:
    """The number in [0, 1) that belongs to (seed, choice, position), by Philox (Salmon et al. 2011).

    A counter-based generator has no state: the number is the same alone, in any batch, and after a restart.
    """
    if seed is None:
        raise ValueError("a row is sampled with its seed drawn: SamplingParams.seeded()")
    philox = np.random.Philox(key=seed % 2**64, counter=[position, choice, 0, 0])
    return float(int(philox.random_raw()) >> 11) * 2.0**-53


def raw_logprobs(
    logits: Float[Tensor, "row vocabulary"], chosen: Sequence[int], n_top: int
) -> tuple[list[float], list[list[tuple[int, float]]]]:
    """Log-probabilities in nats of the chosen tokens, and the `n_top` likeliest (id, nats) at each place."""
    logits = logits.float()
    norm = logits.logsumexp(-1, keepdim=True)
    picked = logits.gather(-1, torch.tensor(chosen, device=logits.device)[:, None]) - norm
    values, ids = logits.topk(min(n_top, logits.shape[-1]), dim=-1)
    pairs = zip(ids.tolist(), (values - norm).tolist(), strict=True)
    return picked.flatten().tolist(), [list(zip(i, v, strict=True)) for i, v in pairs]
