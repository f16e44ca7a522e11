"""Continuing token sequences: rows of unequal lengths decode together, join and leave.

A GPT remembers them in a KV cache, a recurrent model in its state.

`generate` and `stream` serve programs; a server's engine has a cache in blocks instead. Nothing here
knows text: stop strings belong to whoever holds the tokenizer.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bottega.errors import InputError
from bottega.models.gpt import GPT
from bottega.models.recurrent import RecurrentLM
from bottega.nn.cache import ContiguousCache
from bottega.nn.sampling import Row, choose, raw_logprobs
from bottega.nn.sampling_params import SamplingParams, check_fits
from bottega.nn.steps import FinishReason, Step, Token

UNBOUNDED = 1024  # tokens that a model without a context writes where nobody says how many


@dataclass(frozen=True)
class Completion:
    """A finished continuation, without the end-of-text token. Log-probabilities are raw, in nats."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    finish_reason: FinishReason = "length"


class Batch:
    """Rows that decode together, one token a step, over one contiguous cache of `slots` rows.

    The rows in use are always the first ones of the cache, so that a step touches no idle slot: the last row
    moves into the place of one that leaves. `capacity` is positions a row, the model's context by default.
    """

    def __init__(self, model: GPT, end_of_text: int, slots: int, capacity: int | None = None) -> None:
        self.model, self.end_of_text, self.slots = model, end_of_text, slots
        self.cache = model.new_cache(slots, capacity)
        self.capacity = self.cache.capacity
        self.rows: list[Row] = []

    @torch.no_grad()
    def join(self, rows: Sequence[Row]) -> list[tuple[Row, Step]]:
        """Read the prompts of new rows, right-padded to one length, and draw the first token of each."""
        if len(self.rows) + len(rows) > self.slots:
            raise ValueError(f"{len(self.rows)} + {len(rows)} rows do not fit into {self.slots} slots")
        device = self.cache.keys.device
        lengths = torch.tensor([len(row.prompt) for row in rows], device=device)
        width = max(len(row.prompt) for row in rows)
        ids = torch.tensor([row.prompt + [0] * (width - len(row.prompt)) for row in rows], device=device)
        start = len(self.rows)
        self.cache.lengths[start : start + len(rows)] = 0
        hidden = self._forward(start, ids, lengths)
        self.rows.extend(rows)
        last = hidden[torch.arange(len(rows), device=device), lengths - 1]
        prompts = [self._score_prompt(row, hidden[i]) for i, row in enumerate(rows)]
        return self._extend(rows, self._logits(last), prompts)

    @torch.no_grad()
    def step(self) -> list[tuple[Row, Step]]:
        """Draw one more token of every row; rows that finish leave."""
        ids = torch.tensor([row.output[-1:] for row in self.rows], device=self.cache.keys.device)
        hidden = self._forward(0, ids, 1)
        return self._extend(list(self.rows), self._logits(hidden[:, 0]), [()] * len(self.rows))

    def leave(self, row: Row) -> None:
        """Free a row's slot."""
        hole, last = self.rows.index(row), len(self.rows) - 1
        if hole != last:
            length = int(self.cache.lengths[last])
            for stored in (self.cache.keys, self.cache.values):
                stored[:, hole, :, :length] = stored[:, last, :, :length]
            self.cache.lengths[hole] = length
            self.rows[hole] = self.rows[last]
        self.rows.pop()

    def _forward(self, start: int, ids: Tensor, counts: Tensor | int) -> Float[Tensor, "row time width"]:
        """Run the model on the slots from `start`, through a view of the cache that has only these rows."""
        rows = slice(start, start + ids.shape[0])
        view: ContiguousCache = copy.copy(self.cache)
        view.keys, view.values = self.cache.keys[:, rows], self.cache.values[:, rows]
        view.lengths = self.cache.lengths[rows]
        view.longest = int(view.lengths.max())
        hidden = self.model.hidden(ids, view)
        view.advance(counts)
        self.cache.lengths[rows] = view.lengths
        return hidden

    def _logits(self, hidden: Float[Tensor, "place width"]) -> Float[Tensor, "place vocabulary"]:
        return F.linear(hidden, self.model.head_weight)

    def _score_prompt(self, row: Row, hidden: Float[Tensor, "time width"]) -> tuple[Token, ...]:
        if not row.score_prompt:
            return ()
        scored = [Token(row.prompt[0], None)]
        # In pieces, because the logits of a whole prompt can be larger than the model.
        for start in range(0, len(row.prompt) - 1, 128):
            following = row.prompt[start + 1 : start + 129]
            logits = self._logits(hidden[start : start + len(following)])
            scored += _tokens(logits, following, [row.params.logprobs or 0] * len(following))
        return tuple(scored)

    def _extend(
        self, rows: Sequence[Row], logits: Float[Tensor, "row vocabulary"], prompts: list[tuple[Token, ...]]
    ) -> list[tuple[Row, Step]]:
        chosen = choose(logits, rows, self.end_of_text)
        tokens = _tokens(logits, chosen, [row.params.logprobs or 0 for row in rows])
        steps = []
        for row, token, prompt in zip(rows, tokens, prompts, strict=True):
            step = self._take(row, token, prompt)
            if step.finish_reason is not None:
                self.leave(row)
            steps.append((row, step))
        return steps

    def _take(self, row: Row, token: Token, prompt: tuple[Token, ...]) -> Step:
        limit = row.params.max_tokens
        limit = self.capacity - len(row.prompt) if limit is None else limit
        if limit == 0:
            return Step(None, "length", prompt)
        if token.id in (self.end_of_text, *row.params.stop_tokens):
            return Step(None, "stop", prompt)
        row.output.append(token.id)
        return Step(token, "length" if len(row.output) >= limit else None, prompt)


class RecurrentBatch(Batch):
    """Rows of a recurrent model that decode together: a row's state takes the place of its cache."""

    def __init__(self, model: RecurrentLM, end_of_text: int, capacity: int) -> None:
        self.recurrent, self.end_of_text, self.capacity = model, end_of_text, capacity
        self.rows: list[Row] = []
        self.state: Float[Tensor, "layer part row width"] | None = None

    @torch.no_grad()
    def join(self, rows: Sequence[Row]) -> list[tuple[Row, Step]]:
        """Read the prompts of new rows one by one, and draw the first token of each."""
        device = self.recurrent.tok_emb.weight.device
        read = [self.recurrent.hidden(torch.tensor([row.prompt], device=device)) for row in rows]
        states = [state for _, state in read]
        self.state = torch.cat(states if self.state is None else [self.state, *states], 2)
        self.rows.extend(rows)
        prompts = [self._score_prompt(row, hidden[0]) for row, (hidden, _) in zip(rows, read, strict=True)]
        return self._extend(rows, self._logits(torch.cat([hidden[:, -1] for hidden, _ in read])), prompts)

    @torch.no_grad()
    def step(self) -> list[tuple[Row, Step]]:
        """Draw one more token of every row; rows that finish leave."""
        ids = torch.tensor(
            [row.output[-1:] for row in self.rows], device=self.recurrent.tok_emb.weight.device
        )
        hidden, self.state = self.recurrent.hidden(ids, self.state)
        return self._extend(list(self.rows), self._logits(hidden[:, 0]), [()] * len(self.rows))

    def leave(self, row: Row) -> None:
        """Forget a row's state."""
        assert self.state is not None
        gone = self.rows.index(row)
        self.state = torch.cat([self.state[:, :, :gone], self.state[:, :, gone + 1 :]], 2)
        self.rows.pop(gone)

    def _logits(self, hidden: Float[Tensor, "place width"]) -> Float[Tensor, "place vocabulary"]:
        return F.linear(hidden, self.recurrent.head_weight)


def _tokens(
    logits: Float[Tensor, "place vocabulary"], chosen: Sequence[int], n_top: Sequence[int]
) -> list[Token]:
    logprobs, tops = raw_logprobs(logits, chosen, max(n_top))
    return [
        Token(id, logprob, tuple(top[:n]))
        for id, logprob, top, n in zip(chosen, logprobs, tops, n_top, strict=True)
    ]


def stream(
    model: GPT | RecurrentLM,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams | Sequence[SamplingParams],
    end_of_text: int,
    n: int = 1,
) -> Generator[tuple[int, Step], None, None]:
    """Continue every prompt `n` times, all together; yield (continuation, step) as each token is drawn.

    Continuation `i` belongs to prompt `i // n`. A row's tokens are those it would have alone. Raises
    InputError, before any work, where a prompt and its max_tokens exceed the model's context; a recurrent
    model has none, and writes UNBOUNDED tokens at most where max_tokens does not say.
    """
    each = [params] * len(prompts) if isinstance(params, SamplingParams) else list(params)
    if len(each) != len(prompts):
        raise InputError(
            f"{len(prompts)} prompts came with {len(each)} sets of parameters; give one or one each"
        )
    for prompt, one in zip(prompts, each, strict=True):
        check_fits(prompt, one, _context(model, prompt, one), model.config.vocab_size)
    seeded = [(list(prompt), one.seeded()) for prompt, one in zip(prompts, each, strict=True)]
    rows = [Row(prompt, one, choice) for prompt, one in seeded for choice in range(n)]
    return _stream(model, rows, end_of_text)


def _context(model: GPT | RecurrentLM, prompt: Sequence[int], params: SamplingParams) -> int:
    """How many tokens prompt and continuation may have together."""
    if isinstance(model, GPT):
        return model.config.context_length
    return len(prompt) + (UNBOUNDED if params.max_tokens is None else params.max_tokens)


def _stream(
    model: GPT | RecurrentLM, rows: list[Row], end_of_text: int
) -> Generator[tuple[int, Step], None, None]:
    if not rows:
        return
    number = {id(row): i for i, row in enumerate(rows)}
    wanted = []
    for row in rows:
        limit = row.params.max_tokens
        context = _context(model, row.prompt, row.params)
        wanted.append(context if limit is None else len(row.prompt) + limit)
    training = model.training
    model.eval()
    try:
        batch = (
            Batch(model, end_of_text, len(rows), max(wanted))
            if isinstance(model, GPT)
            else RecurrentBatch(model, end_of_text, max(wanted))
        )
        steps = batch.join(rows)
        while steps:
            for row, step in steps:
                yield number[id(row)], step
            steps = batch.step() if batch.rows else []
    finally:
        model.train(training)


def generate(
    model: GPT | RecurrentLM,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams | Sequence[SamplingParams],
    end_of_text: int,
    n: int = 1,
) -> list[Completion]:
    """Continue every prompt `n` times and return the continuations, those of one prompt side by side.

    `prompts` are token ids, `params` one set for all or one for each prompt. Raises InputError where a prompt
    and its max_tokens exceed the model's context.
    """
    gathered: list[list[Token]] = [[] for _ in range(len(prompts) * n)]
    reasons: list[FinishReason] = ["length"] * len(gathered)
    for i, step in stream(model, prompts, params, end_of_text, n):
        if step.token is not None:
            gathered[i].append(step.token)
        if step.finish_reason is not None:
            reasons[i] = step.finish_reason
    return [
        Completion(
            [t.id for t in tokens], [t.logprob or 0.0 for t in tokens], [t.top for t in tokens], reason
        )
        for tokens, reason in zip(gathered, reasons, strict=True)
    ]
