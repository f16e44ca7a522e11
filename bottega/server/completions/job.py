"""One completions request on its way: its prompts as token ids, its requests to the engine, its answer."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from bottega.engine.request import Request
from bottega.engine.stream import Stream
from bottega.errors import BottegaError
from bottega.nn.steps import FinishReason, Step
from bottega.server.completions.insertion import surround
from bottega.server.completions.pieces import Piece, Pieces, Placed, legacy_logprobs, place
from bottega.server.completions.reading import (
    Prompt,
    check_combinations,
    check_context,
    read_prompts,
    sampling_params,
    stop_strings,
)
from bottega.server.errors import ApiError
from bottega.server.grammars import grammar_of
from bottega.server.sampling_schema import StreamOptions
from bottega.server.schema import Choice, Completion, CompletionRequest, PaddedCompletion, Usage
from bottega.server.served import Served
from bottega.server.streams import error_event, obfuscation


class Job:
    """Reads a body, asks the engine and words the answer. Candidate i belongs to prompt i // best_of."""

    def __init__(self, body: CompletionRequest, served: Served, salt: str = "") -> None:
        check_combinations(body)
        self.body, self.served = body, served
        self.prompts = read_prompts(body, served)
        if body.suffix:
            self.prompts = surround(self.prompts, body.suffix, served, body.model)
        self.params = sampling_params(body, served)
        check_context(self.prompts, self.params, served, body.model)
        self.n = body.n or 1
        self.candidates = body.best_of or self.n  # 0, the specified minimum, chooses among none
        if len(self.prompts) * self.candidates > served.engine.most:
            raise ApiError(
                f"{len(self.prompts)} prompts of {self.candidates} candidates each are more than the "
                f"{served.engine.most} continuations that the server takes at once; send fewer.",
                "prompt",
                "invalid_value",
            )
        self.stops, self.salt = stop_strings(body), salt
        self.grammar = grammar_of(body.response_format, served.tokenizer)
        self.id, self.created = f"cmpl-{uuid.uuid4().hex}", int(time.time())
        self.drawn = self.cached = 0  # tokens so far, for the usage

    def requests(self) -> list[Request]:
        """What the engine is asked for: every candidate of every prompt."""
        score = bool(self.body.echo) and self.body.logprobs is not None
        params = self.params
        if self.candidates > self.n:  # they are compared by their log-probabilities
            params = replace(params, logprobs=params.logprobs or 0)
        return [
            Request(prompt.ids, params, candidate, score, grammar=self.grammar, salt=self.salt)
            for prompt in self.prompts
            for candidate in range(self.candidates)
        ]

    async def pieces(self, steps: Stream) -> AsyncIterator[tuple[int, Piece]]:
        """The candidates' texts piece by piece, the prompt first where it is to be echoed."""
        texts: dict[int, Pieces] = {}
        async for i, step in steps:
            prompt = self.prompts[i // self.candidates]
            if i not in texts:
                texts[i] = Pieces(self.served.tokenizer, self.stops, len(prompt.text))
                if self.body.echo:
                    yield i, self._echo(prompt, step)
            self.drawn += step.token is not None
            if i % self.candidates == 0:  # the others find what the first has read
                self.cached += step.cached
            piece = texts[i].push(step)
            if piece.finish_reason is not None:
                steps.abort(i)  # a stop string ends the text, which the engine cannot know
            yield i, piece

    async def whole(self, steps: Stream) -> Completion:
        """The answer in one piece."""
        gathered = [_Candidate() for _ in self.requests()]
        async for i, piece in self.pieces(steps):
            gathered[i].add(piece)
        choices = []
        for at in range(0, len(gathered), self.candidates):
            best = gathered[at : at + self.candidates]
            if self.candidates > self.n:
                best = sorted(best, key=_Candidate.mean_logprob, reverse=True)[: self.n]
            choices += [
                self._choice(c.as_piece(), at // self.candidates * self.n + k) for k, c in enumerate(best)
            ]
        return self._completion(choices, self._usage())

    async def events(self, steps: Stream) -> AsyncIterator[str]:
        """The answer as server-sent events, the last of them `[DONE]`, or an error."""
        options = self.body.stream_options
        with_usage = options is not None and bool(options.include_usage)
        try:
            async for i, piece in self.pieces(steps):
                if piece.text or piece.tokens or piece.finish_reason is not None:
                    yield self._event([self._choice(piece, i)])
        except BottegaError as error:
            yield error_event(error)
            return
        if with_usage:
            yield self._event([], self._usage())
        yield "data: [DONE]\n\n"

    def _event(self, choices: list[Choice], usage: Usage | None = None) -> str:
        options = self.body.stream_options or StreamOptions()
        completion = self._completion(choices, usage)
        left_out = None if options.include_usage else {"usage"}
        if options.include_obfuscation:
            padding = obfuscation(completion.model_dump_json(exclude=left_out))
            completion = PaddedCompletion(**dict(completion), obfuscation=padding)
        return f"data: {completion.model_dump_json(exclude=left_out)}\n\n"

    def _echo(self, prompt: Prompt, step: Step) -> Piece:
        tokens = place(self.served.tokenizer, step.prompt[prompt.shown]) if prompt.text else []
        return Piece(prompt.text, tokens, None, echo=True)

    def _choice(self, piece: Piece, index: int) -> Choice:
        n_top = self.body.logprobs
        logprobs = None if n_top is None else legacy_logprobs(self.served.tokenizer, piece.tokens, n_top)
        return Choice(text=piece.text, index=index, logprobs=logprobs, finish_reason=piece.finish_reason)

    def _completion(self, choices: list[Choice], usage: Usage | None = None) -> Completion:
        return Completion(
            id=self.id,
            created=self.created,
            model=self.body.model,
            choices=choices,
            system_fingerprint=self.served.fingerprint(self.body.model),
            usage=usage,
        )

    def _usage(self) -> Usage:
        read = sum(len(prompt.ids) for prompt in self.prompts)
        return Usage.of(read, self.drawn, self.cached)


@dataclass
class _Candidate:
    """What one candidate has given so far."""

    text: str = ""
    tokens: list[Placed] = field(default_factory=list)
    drawn: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.tokens += piece.tokens
        self.finish_reason = piece.finish_reason
        if not piece.echo:
            self.drawn += [token.logprob for _, token in piece.tokens if token.logprob is not None]

    def as_piece(self) -> Piece:
        return Piece(self.text, self.tokens, self.finish_reason)

    def mean_logprob(self) -> float:
        """What best_of compares: the log-probability per token of what was drawn."""
        return sum(self.drawn) / len(self.drawn) if self.drawn else float("-inf")
