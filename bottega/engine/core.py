"""The engine's core: requests go in, one forward pass a step, tokens come out. It knows no processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Sequence as Listed
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bottega.engine.blocks import BlockPool, blocks_for
from bottega.engine.constraints import Constraint, Grammars
from bottega.engine.forward import Forward
from bottega.engine.lookup import Lookup
from bottega.engine.paged_attention import BLOCK
from bottega.engine.paged_cache import PagedCache, tokens_that_fit
from bottega.engine.quantisation import Kind
from bottega.engine.request import NOT_FINITE, EngineFailed, Request
from bottega.engine.scheduler import Scheduler, Span
from bottega.engine.sequence import Sequence
from bottega.engine.settings import EngineSettings, Statistics
from bottega.engine.weights import pack
from bottega.errors import InputError
from bottega.models.gpt import GPT
from bottega.nn.sampling import NotFinite, Row, choose, raw_logprobs
from bottega.nn.sampling_params import check_fits
from bottega.nn.steps import Step, Token

AT_ONCE = 128  # places of a prompt that are scored together: their logits can be larger than the model


class Core:
    """Continuous batching over a paged KV cache. Takes the model over: its weights are packed as set.

    `tokenizer_json` is the text of the tokenizer's file: ids that it does not have, of a vocabulary that was
    padded, are never drawn, and grammars need it. `context_length` is the model's, or what the cache holds.
    """

    def __init__(
        self, model: GPT, end_of_text: int, settings: EngineSettings, tokenizer_json: str | None = None
    ) -> None:
        self.settings, self.end_of_text = settings, end_of_text
        kind = _kind(model) if settings.weights == "auto" else settings.weights
        self._head = pack(model, kind, settings.exact)
        self.model, self.device = model.eval(), model.tok_emb.weight.device
        config, dtype = model.config, torch.float32 if kind == "fp32" else torch.bfloat16
        wanted = settings.kv_tokens
        if wanted is None:
            all_slots = settings.slots * blocks_for(config.context_length) * BLOCK
            wanted = min(all_slots, tokens_that_fit(config, dtype, self.device))
        blocks = blocks_for(wanted)
        self.context_length = min(config.context_length, blocks * BLOCK)
        self.vocab_size = config.vocab_size
        self._n_tokens = config.vocab_size if tokenizer_json is None else _n_tokens(tokenizer_json)
        cache = PagedCache(config, blocks, dtype, self.device)
        self._forward = Forward(model, cache, self.device)
        self._pool = BlockPool(blocks)
        self._scheduler = Scheduler(self._pool, cache.copy, settings, self.context_length)
        self._sequences: dict[int, Sequence] = {}
        self._tokenizer_json = tokenizer_json
        self._grammars: Grammars | None = None  # made for the first request that has one
        self._arrivals = self._generated = self._drafted = self._accepted = 0

    @property
    def has_work(self) -> bool:
        """Whether a request is unfinished."""
        return bool(self._sequences)

    def add(self, id: int, request: Request) -> None:
        """Queue a request. Raises InputError where it does not fit, or its grammar is wrong."""
        check_fits(request.prompt, request.params, self.context_length, self.vocab_size)
        params, room = request.params.seeded(), self.context_length - len(request.prompt)
        limit = room if params.max_tokens is None else params.max_tokens
        row = Row(request.prompt, params, request.choice, request.score_prompt)
        lookup = Lookup() if self.settings.speculate else None
        constraint = None if request.grammar is None else self._constraint(request.grammar)
        self._sequences[id] = Sequence(id, request, row, limit, self._arrivals, constraint, lookup)
        self._arrivals += 1
        self._scheduler.add(self._sequences[id])

    def abort(self, id: int) -> None:
        """Give a request up, if it is not finished; its blocks are free at once."""
        if id in self._sequences:
            self._scheduler.remove(self._sequences.pop(id))

    def statistics(self) -> Statistics:
        """What the core is doing and has done."""
        scheduler = self._scheduler
        return Statistics(
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            kv_blocks_used=self._pool.used,
            kv_blocks_total=self._pool.total,
            prefix_hit_tokens=scheduler.prefix_hit_tokens,
            prompt_tokens=scheduler.prompt_tokens,
            generated_tokens=self._generated,
            preemptions=scheduler.preemptions,
            drafted=self._drafted,
            accepted=self._accepted,
        )

    def step(self) -> list[tuple[int, Step]]:
        """One forward pass; the steps that it gave, in order for each request.

        Who has states or logits that are not finite gets an error as its last step, and nobody else. An
        error leaves the core empty and ready for new requests; those that it had are lost.
        """
        try:
            with torch.inference_mode():
                return self._step(self._scheduler.plan())
        except BaseException:
            for id in [*self._sequences]:
                self.abort(id)
            self._pool.forget()  # what failed may have been written to the cache
            raise

    def _step(self, spans: list[Span]) -> list[tuple[int, Step]]:
        if not spans:
            return []
        hidden = self._forward(spans, self._scheduler.tables)
        finite = np.isfinite(hidden.float().sum(-1).cpu().numpy())  # a sum is no number where a part is none
        steps: list[tuple[int, Step]] = []
        places: list[int] = []  # of the states that are sampled from
        rows: list[Row] = []
        sampled: list[Span] = []
        start = 0
        for span in spans:
            sequence, end = span.sequence, start + span.count
            after = end + len(span.drafts)
            if not finite[start:after].all():  # before its keys and values can be found by others
                steps.append(self._lose(sequence))
                start = after
                continue
            if sequence.reads_prompt:
                self._read(span, hidden[start:end])
            self._scheduler.computed(sequence, span.count)
            if not sequence.pending:
                sampled.append(span)
                rows += _rows(span)
                places += range(end - 1, after)
            start = after
        return steps + self._sample(sampled, rows, hidden if len(places) == len(hidden) else hidden[places])

    def _read(self, span: Span, hidden: Tensor) -> None:
        """Keep what a request asks of its prompt's states, which come chunk by chunk."""
        sequence = span.sequence
        prompt, first = sequence.row.prompt, sequence.computed
        if sequence.request.embed:
            sequence.states.append(hidden)
        if not sequence.request.score_prompt:
            return
        if not sequence.scored:
            sequence.scored.append(Token(prompt[0], None))
        for start in range(0, span.count, AT_ONCE):
            following = prompt[first + start + 1 : first + min(start + AT_ONCE, span.count) + 1]
            if following:
                logits = self._head(hidden[start : start + len(following)])
                sequence.scored += self._tokens(logits, following, [sequence.row] * len(following))

    def _sample(self, spans: list[Span], rows: list[Row], hidden: Tensor) -> list[tuple[int, Step]]:
        if not spans:
            return []
        logits = self._head(hidden)
        try:
            chosen = choose(logits[:, : self._n_tokens], rows, self.end_of_text, self._allowed(spans))
        except NotFinite as error:
            return self._sample_others({*error.rows}, spans, rows, hidden)
        tokens = self._tokens(logits, chosen, rows)
        steps = []
        for span, places in _places(spans):
            steps += self._take(span, [tokens[i] for i in places])
        return steps

    def _sample_others(
        self, broken: set[int], spans: list[Span], rows: list[Row], hidden: Tensor
    ) -> list[tuple[int, Step]]:
        """Give up the sequences of the broken rows, and sample those of the others."""
        lost: list[tuple[int, Step]] = []
        kept: list[Span] = []
        places: list[int] = []
        for span, own in _places(spans):
            if broken.isdisjoint(own):
                kept.append(span)
                places += own
            else:
                lost.append(self._lose(span.sequence))
        return lost + self._sample(kept, [rows[i] for i in places], hidden[places])

    def _lose(self, sequence: Sequence) -> tuple[int, Step]:
        self.abort(sequence.id)
        return sequence.id, Step(None, "stop", error=EngineFailed(NOT_FINITE))

    def _allowed(self, spans: list[Span]) -> dict[int, Tensor]:
        """What grammars admit: the number of a row that is sampled from → (vocabulary,)."""
        masks = {}
        for span, places in _places(spans):
            sequence = span.sequence
            if sequence.constraint is not None and sequence.limit:
                mask = sequence.constraint.allowed(sequence.limit - len(sequence.row.output))
                masks[places[0]] = torch.from_numpy(mask[: self._n_tokens]).to(self.device)
        return masks

    def _constraint(self, grammar: str) -> Constraint:
        if self._grammars is None:
            if self._tokenizer_json is None:
                raise InputError("a grammar needs a tokenizer; set the core up with the model's")
            self._grammars = Grammars(self._tokenizer_json, self.vocab_size, self.end_of_text)
        return self._grammars.constraint(grammar)

    def _take(self, span: Span, tokens: list[Token]) -> list[tuple[int, Step]]:
        """The steps of one sequence: what was drawn at its end and, while drafts were right, behind it."""
        sequence, steps = span.sequence, []
        for i, token in enumerate(tokens):
            step = self._advance(sequence, token)
            steps.append((sequence.id, step))
            if step.finish_reason is not None:
                self.abort(sequence.id)
                break
            if i < len(span.drafts):
                if span.drafts[i] != token.id:
                    break
                self._scheduler.computed(sequence, 1)
        self._drafted += len(span.drafts)
        self._accepted += len(steps) - 1
        return steps

    def _advance(self, sequence: Sequence, token: Token) -> Step:
        first, sequence.opened = not sequence.opened, True
        step = self._outcome(sequence, token)
        return replace(step, prompt=tuple(sequence.scored), cached=sequence.cached) if first else step

    def _outcome(self, sequence: Sequence, token: Token) -> Step:
        constraint = sequence.constraint
        if sequence.request.embed:
            return Step(None, "length", embedding=_embedding(sequence.states))
        if not sequence.limit:
            return Step(None, "length")
        if constraint is not None and constraint.fault:  # found while the token was being chosen
            return Step(None, "stop", error=InputError(constraint.fault))
        if token.id in (self.end_of_text, *sequence.row.params.stop_tokens):
            return Step(None, "stop")
        sequence.take(token.id)
        self._generated += 1
        last = len(sequence.row.output) >= sequence.limit
        if constraint is None:
            return Step(token, "length" if last else None)
        if constraint.fault:
            return Step(None, "stop", error=InputError(constraint.fault))
        if constraint.finished or (last and constraint.whole):
            return Step(token, "stop")
        return Step(token, "length" if last else None)

    def _tokens(self, logits: Tensor, ids: Listed[int], rows: Listed[Row]) -> list[Token]:
        """The chosen tokens, with their raw log-probabilities where their requests ask for them."""
        tokens = [Token(id, None) for id in ids]
        asking = [i for i, row in enumerate(rows) if row.params.logprobs is not None or row.score_prompt]
        if asking:
            n_top = [rows[i].params.logprobs or 0 for i in asking]
            part = logits if len(asking) == len(rows) else logits[asking]
            logprobs, tops = raw_logprobs(part, [ids[i] for i in asking], max(n_top), self._n_tokens)
            for i, n, logprob, top in zip(asking, n_top, logprobs, tops, strict=True):
                tokens[i] = Token(ids[i], logprob, tuple(top[:n]))
        return tokens


def _kind(model: GPT) -> Kind:
    """The kind of weights that a checkpoint has; fp16 has no kernels, and fits into fp32 alone."""
    return "bf16" if model.tok_emb.weight.dtype == torch.bfloat16 else "fp32"


def _rows(span: Span) -> list[Row]:
    """A row for each place of a span that is sampled from: behind a draft it holds the drafts so far."""
    row = span.sequence.row
    drafts = span.drafts
    ahead = [
        Row(row.prompt, row.params, row.choice, row.score_prompt, [*row.output, *drafts[:n]])
        for n in range(1, len(drafts) + 1)
    ]
    return [row, *ahead]


def _places(spans: list[Span]) -> Iterator[tuple[Span, range]]:
    """Where the rows of each span stand among all that are sampled from."""
    start = 0
    for span in spans:
        end = start + 1 + len(span.drafts)
        yield span, range(start, end)
        start = end


def _n_tokens(tokenizer_json: str) -> int:
    """One more than the highest id of a tokenizer."""
    definition = json.loads(tokenizer_json)
    ids = [*definition["model"]["vocab"].values(), *(added["id"] for added in definition["added_tokens"])]
    return 1 + max(ids)


def _embedding(states: list[Tensor]) -> tuple[float, ...]:
    """The mean of a prompt's last states, of unit length. In one sum: chunks must not change it."""
    mean = torch.cat(states).double().mean(0)
    return tuple((mean / mean.norm()).tolist())
