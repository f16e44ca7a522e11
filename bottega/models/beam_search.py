"""Beam search: the likeliest translations that a narrow search finds, many sentences at a time.

Each step keeps, of every sentence, the `beam` likeliest beginnings of a translation (Graves 2012; Sutskever
et al. 2014, section 3.2). Candidates are cut, finished and stopped as in CTranslate2, so that an exported
model gives the same tokens there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bottega.errors import InputError


@runtime_checkable
class State(Protocol):
    """What a decoder remembers between two tokens, for some rows: keys and values, or a recurrent state.

    At the beginning every sentence has one row, later each has the same number of rows, always neighbours.
    """

    def select(self, rows: Int[Tensor, " n"]) -> None:
        """Make row `i` what row `rows[i]` was: rows are reordered, repeated within a sentence, or left out.

        A sentence keeps its place among those that stay, so what depends on the source alone (the keys and
        values of cross-attention) need be kept once a sentence.
        """
        ...


S = TypeVar("S", bound=State)


@runtime_checkable
class Decodes(Protocol[S]):
    """A model that writes a target after reading a source, token by token."""

    def begin(self, source: Int[Tensor, "batch time"], source_mask: Bool[Tensor, "batch time"]) -> S:
        """Read sources, padded on the right (`source_mask` is True where a token stands): a row for each."""
        ...

    def next(self, ids: Int[Tensor, " row"], state: S) -> Float[Tensor, "row vocabulary"]:
        """Take one token of every row (<bos> at first) and give the logits of the one after it."""
        ...


@dataclass(frozen=True)
class BeamConfig:
    """How to search. Raises InputError for values that make no search.

    A finished hypothesis Y is ranked by log P(Y | X) / |Y| ** length_penalty, <eos> counted in |Y|. Of the
    two forms in use (the other is Wu et al. 2016, eq. 14) CTranslate2 has this one. 0 ranks by probability,
    which favours the short; 1 by the mean of the tokens. <eos> is not drawn before `min_tokens` tokens are
    written; 0 allows the empty translation, which models like more than they should.
    """

    beam: int = 5
    length_penalty: float = 1.0
    max_tokens: int = 256
    min_tokens: int = 1
    n_best: int = 1

    def __post_init__(self) -> None:
        for name in ("beam", "max_tokens", "n_best"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.min_tokens <= self.max_tokens:
            raise InputError(f"min_tokens is {self.min_tokens}; expected 0 to max_tokens, {self.max_tokens}")
        if self.n_best > self.beam:
            raise InputError(f"a beam of {self.beam} cannot give the {self.n_best} best; widen the beam")
        if not 0 <= self.length_penalty < math.inf:
            raise InputError(f"length_penalty must be 0 or more, not {self.length_penalty}")


@dataclass(frozen=True)
class Hypothesis:
    """A translation: its tokens without <bos> and <eos>, log P with <eos> in nats, the score that ranks it.

    `finished` is False where `max_tokens` cut it off before <eos>.
    """

    ids: list[int]
    logprob: float
    score: float
    finished: bool = True


@torch.no_grad()
def beam_search(
    model: Decodes[S],
    source: Int[Tensor, "batch time"],
    source_mask: Bool[Tensor, "batch time"],
    config: BeamConfig,
    bos: int,
    eos: int,
    pad: int | None = None,
) -> list[list[Hypothesis]]:
    """The `n_best` translations of every sentence, best first. <bos> and <pad> are never part of one.

    A sentence is done when none of its open hypotheses can still be better, or, where lengths are normalised,
    when `beam` are finished; it then leaves the batch. `model` is used as it is: in eval mode for the best.
    """
    state = model.begin(source, source_mask)
    n, device = len(source), source.device
    found: list[list[Hypothesis]] = [[] for _ in range(n)]
    searched = list(range(n))  # the sentences still in the batch
    scores = torch.zeros(n, 1, device=device)
    tokens = torch.full((n, 1, 1), bos, device=device)
    for length in range(config.max_tokens):
        logits = model.next(tokens[:, :, -1].flatten(), state).float()
        logits[:, _never(bos, pad, eos, length < config.min_tokens)] = -math.inf
        beams = scores.shape[1]
        scores, origins, ids = _candidates(logits, scores, 2 * config.beam)
        ends = (ids == eos) | (length + 1 == config.max_tokens)
        for i, k in (ends & scores.isfinite())[:, : config.beam].nonzero().tolist():
            end = int(ids[i, k]) == eos
            written = tokens[i, origins[i, k], 1:].tolist() + ([] if end else [int(ids[i, k])])
            logprob = float(scores[i, k])
            score = logprob / (length + 1) ** config.length_penalty
            found[searched[i]].append(Hypothesis(written, logprob, score, end))
        # At most `beam` of the candidates end, one a row, so `beam` others go on in their place.
        scores, goes_on = scores.masked_fill(ends, -math.inf).topk(min(config.beam, scores.shape[1]))
        origins, ids = origins.gather(1, goes_on), ids.gather(1, goes_on)
        best = scores[:, 0].tolist()
        stay = [i for i, sentence in enumerate(searched) if not _done(found[sentence], best[i], config)]
        if not stay:
            break
        searched = [searched[i] for i in stay]
        kept = torch.tensor(stay, device=device)[:, None]
        origins, ids, scores = origins[kept[:, 0]], ids[kept[:, 0]], scores[kept[:, 0]]
        rows = (kept * beams + origins).flatten()
        if not torch.equal(rows, torch.arange(n * beams, device=device)):
            state.select(rows)
        tokens = torch.cat([tokens[kept, origins], ids[:, :, None]], 2)
        n = len(searched)
    return [sorted(each, key=lambda h: h.score, reverse=True)[: config.n_best] for each in found]


def _candidates(
    logits: Float[Tensor, "row vocabulary"], scores: Float[Tensor, "sentence beam"], n: int
) -> tuple[Float[Tensor, "sentence n"], Int[Tensor, "sentence n"], Int[Tensor, "sentence n"]]:
    """The `n` likeliest continuations of every sentence: log-probabilities, rows they go on from, tokens."""
    # The best of a sentence are among the best of its rows, so the vocabulary is normalised by one sum
    # a row and never written out as log-probabilities.
    top, ids = logits.topk(min(n, logits.shape[1]))
    # log-sum-exp with the maximum that is known, in place: nobody reads the logits again.
    top = top - (highest := top[:, :1])
    total = logits.sub_(highest).exp_().sum(1, keepdim=True).log()
    logprobs = scores.flatten()[:, None] + top - total
    a_row = top.shape[1]
    candidates = logprobs.view(len(scores), -1)
    best, places = candidates.topk(min(n, candidates.shape[1]))
    return best, places // a_row, ids.view(len(scores), -1).gather(1, places)


def _done(found: list[Hypothesis], best_open: float, config: BeamConfig) -> bool:
    """Whether nothing is open, enough is finished, or what is open cannot come among the `n_best`."""
    if best_open == -math.inf or (config.length_penalty > 0 and len(found) >= config.beam):
        return True
    if len(found) < config.n_best:
        return False
    # Log-probabilities only fall, so this is the most that the likeliest open hypothesis can reach.
    bound = best_open / config.max_tokens**config.length_penalty
    return sorted(h.score for h in found)[-config.n_best] >= bound


def _never(bos: int, pad: int | None, eos: int, too_short: bool) -> list[int]:
    """The tokens that cannot come next."""
    return [bos, *([] if pad is None else [pad]), *([eos] if too_short else [])]


@torch.no_grad()
def forced_logprobs(
    model: Decodes[S],
    source: Int[Tensor, "batch time"],
    source_mask: Bool[Tensor, "batch time"],
    targets: Sequence[Sequence[int]],
    bos: int,
    eos: int,
    pad: int | None = None,
    min_tokens: int = 1,
) -> list[float]:
    """log P of each target and <eos> after it, in nats: what a search would say of it, had it found it.

    `targets` come without <bos> and <eos>. What `beam_search` never draws has no probability here either.
    """
    state = model.begin(source, source_mask)
    device, width = source.device, max(map(len, targets)) + 1
    ids = torch.tensor([[*target, *[eos] * (width - len(target))] for target in targets], device=device)
    counted = torch.arange(width, device=device) <= torch.tensor([[len(t)] for t in targets], device=device)
    before = torch.full((len(targets),), bos, device=device)
    total = torch.zeros(len(targets), dtype=torch.float64, device=device)
    for t in range(width):
        logits = model.next(before, state).float()
        logits[:, _never(bos, pad, eos, t < min_tokens)] = -math.inf
        before = ids[:, t]
        logprobs = logits.log_softmax(1).gather(1, before[:, None])[:, 0]
        total += logprobs.where(counted[:, t], 0.0)
    return total.tolist()
