"""How the next token is chosen: penalties, temperature, truncation, and noise that belongs to the row alone.

The order of the rule, for each row: logit bias, repetition penalty, presence and frequency penalties,
temperature, top-k, top-p (over what top-k left, renormalised), min-p (likewise), one draw. Log-probabilities
are *raw*: those of the model's own distribution, before any of this.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bottega.errors import WorkError
from bottega.nn.sampling_params import Number, SamplingParams

_LIKELIEST = 1024  # tokens among which top-p is looked for before all are sorted
_STRETCH = 512  # tokens whose mass is summed up in one go


class NotFinite(WorkError):
    """Logits that are no numbers. `rows` are the numbers of those that have them."""

    def __init__(self, rows: list[int]) -> None:
        super().__init__("the model's logits are not finite; its weights are damaged or have diverged")
        self.rows = rows


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

    @property
    def goes_on(self) -> bool:
        """Whether the end of the text must not be drawn now."""
        return self.params.ignore_eos or len(self.output) < self.params.min_tokens


def choose(
    logits: Float[Tensor, "row vocabulary"],
    rows: Sequence[Row],
    end_of_text: int | None = None,
    allowed: Mapping[int, Bool[Tensor, " vocabulary"]] | None = None,
) -> list[int]:
    """Draw the next token of each row from the logits that follow it.

    `end_of_text` is what min_tokens and ignore_eos keep out besides a row's stop tokens; `allowed` says of
    rows by their number which tokens a grammar admits: there it alone decides about the end. A row's draw
    depends on its own logits, parameters and history only, never on its companions. Raises NotFinite where
    logits are not.
    """
    scores = _edited(logits.float(), rows, end_of_text, allowed or {})
    chosen, finite = _greatest(scores)
    if not all(finite):
        raise NotFinite([i for i, number in enumerate(finite) if not number])
    warm = [i for i, row in enumerate(rows) if row.params.temperature > 0]
    if warm:
        drawn = _draw(scores if len(warm) == len(rows) else scores[warm], [rows[i] for i in warm])
        for i, token in zip(warm, drawn, strict=True):
            chosen[i] = token
    return chosen


def _greatest(scores: Float[Tensor, "row vocabulary"]) -> tuple[list[int], list[bool]]:
    """Where each row is greatest, and whether it is finite there; a NaN counts as the greatest."""
    if scores.device.type != "cpu":
        at = scores.argmax(-1)
        return at.tolist(), scores.gather(-1, at[:, None])[:, 0].isfinite().tolist()
    numbers = scores.numpy()  # whose argmax of 50,000 takes 3 µs, and torch's 31
    best = numbers.argmax(-1)
    return best.tolist(), np.isfinite(numbers[np.arange(len(best)), best]).tolist()


def _edited(
    logits: Float[Tensor, "row vocabulary"],
    rows: Sequence[Row],
    end_of_text: int | None,
    allowed: Mapping[int, Bool[Tensor, " vocabulary"]],
) -> Float[Tensor, "row vocabulary"]:
    """The logits with bias, penalties and what is ruled out; the same tensor where nothing asks for any."""
    endless = [
        (i, end)
        for i, row in enumerate(rows)
        if i not in allowed and row.goes_on
        for end in (end_of_text, *row.params.stop_tokens)
        if end is not None
    ]
    changed = [i for i, row in enumerate(rows) if row.params.logit_bias or row.params.penalises]
    if not (endless or changed or allowed):
        return logits
    scores = logits.clone()
    for i in changed:
        _penalise(scores[i], rows[i])
    if endless:  # on a CPU through NumPy: torch takes 40 µs to index by lists
        places = scores.numpy() if scores.device.type == "cpu" else scores
        places[[i for i, _ in endless], [end for _, end in endless]] = -math.inf
    for i, mask in allowed.items():
        scores[i].masked_fill_(~mask, -math.inf)
    return scores


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
    if any(row.params.temperature != 1 for row in rows):
        # Below that the quotients would leave float32; what is likeliest has all the mass long before.
        scores = scores / _column([max(row.params.temperature, 1e-30) for row in rows], device)
    # Rows are cut in groups of one top-k, so that the cost is that of their own k and ties fall as if alone.
    for k in {row.params.top_k for row in rows}:
        group = [i for i, row in enumerate(rows) if row.params.top_k == k and (k or row.params.top_p < 1)]
        if group:
            cut = _truncate(scores[group], k, [rows[i].params.top_p for i in group])
            scores = (
                cut
                if len(group) == len(rows)
                else scores.index_copy(0, torch.tensor(group, device=device), cut)
            )
    if any(row.params.min_p > 0 for row in rows):
        min_p = _column([row.params.min_p for row in rows], device)
        scores = scores.masked_fill(scores < scores.amax(-1, keepdim=True) + min_p.log(), -math.inf)
    noise = _column([uniform(r.params.seed, r.choice, len(r.output)) for r in rows], device, torch.double)
    return _invert(scores.softmax(-1), noise)


def _invert(mass: Float[Tensor, "row vocabulary"], noise: Float[Tensor, "row 1"]) -> list[int]:
    """The token at which the cumulative mass of each row passes its number.

    In float32 the sum over 50,000 tokens would lose those that are less likely than 1e-7, and in double it
    takes long. So the sums of stretches are added up in double, and then the tokens of the one that is met.
    """
    spare = -mass.shape[-1] % _STRETCH
    stretches = F.pad(mass, (0, spare)).view(len(mass), -1, _STRETCH)
    ends = stretches.sum(-1).double().cumsum(-1)
    wanted = noise * ends[:, -1:]
    # Rounding may carry the number up to the total: then it is the last stretch, or token, that has any mass.
    which = torch.minimum(_first_above(ends, wanted), torch.searchsorted(ends, ends[:, -1:].contiguous()))
    within = stretches.gather(1, which[..., None].expand(-1, -1, _STRETCH))[:, 0].double().cumsum(-1)
    before = torch.where(which > 0, ends.gather(-1, (which - 1).clamp(min=0)), 0.0)
    last = torch.searchsorted(within, within[:, -1:].contiguous())
    return (which * _STRETCH + torch.minimum(_first_above(within, wanted - before), last)).flatten().tolist()


def _first_above(ends: Float[Tensor, "row n"], wanted: Float[Tensor, "row 1"]) -> Int[Tensor, "row 1"]:
    return torch.searchsorted(ends, wanted.contiguous(), right=True)


def _truncate(
    scores: Float[Tensor, "row vocabulary"], top_k: int, top_p: Sequence[Number]
) -> Float[Tensor, "row vocabulary"]:
    """Mask what top-k and top-p leave out."""
    vocabulary, limit = scores.shape[-1], _column(top_p, scores.device)
    # The likeliest are much cheaper than sorting all, and p is nearly always reached within them.
    count = min(top_k or _LIKELIEST, vocabulary)
    if count < vocabulary:
        ordered, ids = scores.topk(count, dim=-1)
    else:
        ordered, ids = scores.sort(dim=-1, descending=True, stable=True)
    share = ordered.softmax(-1) if top_k else scores.softmax(-1).gather(-1, ids)
    before = share.cumsum(-1) - share
    # A token stays while those before it fall short of p; the first stays always, even at p = 0.
    beyond = (before >= limit) & (limit < 1)
    beyond[:, 0] = False
    kept = torch.full_like(scores, -math.inf).scatter(-1, ids, ordered.masked_fill(beyond, -math.inf))
    if not top_k and count < vocabulary:
        short = (~beyond[:, -1]).nonzero().flatten().tolist()  # p may lie beyond the likeliest
        if short:
            kept[short] = _truncate(scores[short], vocabulary, [top_p[i] for i in short])
    return kept


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
    logits: Float[Tensor, "row vocabulary"], chosen: Sequence[int], n_top: int, n_tokens: int | None = None
) -> tuple[list[float], list[list[tuple[int, float]]]]:
    """Log-probabilities in nats of the chosen tokens, and the `n_top` likeliest (id, nats) at each place.

    Only ids below `n_tokens` are listed: a padded vocabulary has rows that no token belongs to.
    """
    # Not logsumexp: it adds a row up in as many parts as there are threads where the row is alone.
    logprobs = logits.float().log_softmax(-1)
    picked = logprobs.gather(-1, torch.tensor(chosen, device=logits.device)[:, None])
    listed = logprobs[:, :n_tokens]
    values, ids = listed.topk(min(n_top, listed.shape[-1]), dim=-1)
    pairs = zip(ids.tolist(), values.tolist(), strict=True)
    return picked.flatten().tolist(), [list(zip(i, v, strict=True)) for i, v in pairs]
