"""One chat request on its way: its conversation as token ids, its requests to the engine, its answer."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from bottega.engine.request import Request
from bottega.engine.stream import Stream
from bottega.errors import BottegaError, InputError
from bottega.server.chat.answer import (
    AnswerMessage,
    ChatChunk,
    ChatCompletion,
    ChatLogprobs,
    ChunkChoice,
)
from bottega.server.chat.reading import check_fields, read_messages, read_tools
from bottega.server.chat.schema import ChatRequest
from bottega.server.chat.wording import Gathered, Said, Wording, chat_logprobs
from bottega.server.completions.pieces import Pieces
from bottega.server.completions.reading import Prompt, check_context, read_sampling, stop_strings
from bottega.server.errors import ApiError
from bottega.server.grammars import grammar_of
from bottega.server.schema import Usage
from bottega.server.served import Served
from bottega.server.streams import error_event, obfuscation

Keep = Callable[[ChatCompletion], Awaitable[None]]


class ChatJob:
    """Reads a body, asks the engine and words the answer."""

    def __init__(self, body: ChatRequest, served: Served, salt: str = "") -> None:
        check_fields(body)
        self.body, self.served, self.salt = body, served, salt
        self.messages, self.tools = read_messages(body.messages), read_tools(body)
        try:
            chat = served.chat
        except InputError as error:
            message = f"{body.model!r} cannot chat: {error}. Use /v1/completions."
            raise ApiError(message, "model", "unsupported_value") from None
        try:
            self.prompt = chat.encode(self.messages, self.tools.described)
        except InputError as error:
            raise ApiError(f"{body.model!r}: {error}.", "messages", "invalid_value") from None
        limit = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
        n_top = (body.top_logprobs or 0) if body.logprobs else None
        self.params = replace(read_sampling(body, served, limit, n_top), stop_tokens=tuple(chat.ends))
        check_context([Prompt(self.prompt, "")], self.params, served, body.model, "messages")
        ends = frozenset() if body.ignore_eos else chat.ends
        self.grammar = grammar_of(body.response_format, served.tokenizer, self.tools.calls, ends)
        self.stops, self.n = stop_strings(body), body.n or 1
        self.id, self.created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        self.fingerprint = served.fingerprint(body.model)
        self.drawn = self.cached = 0  # tokens so far, for the usage

    def requests(self) -> list[Request]:
        """What the engine is asked for: every answer."""
        return [
            Request(self.prompt, self.params, choice, grammar=self.grammar, salt=self.salt)
            for choice in range(self.n)
        ]

    async def said(self, steps: Stream) -> AsyncIterator[tuple[int, Said]]:
        """The answers piece by piece."""
        texts = [Pieces(self.served.tokenizer, self.stops, 0) for _ in range(self.n)]
        wordings = [Wording(self.tools) for _ in range(self.n)]
        async for i, step in steps:
            self.drawn += step.token is not None
            self.cached += step.cached if i == 0 else 0  # the others find what the first has read
            piece = texts[i].push(step)
            if piece.finish_reason is not None:
                steps.abort(i)  # a stop string ends the text, which the engine cannot know
            yield i, wordings[i].push(piece)

    async def whole(self, steps: Stream) -> ChatCompletion:
        """The answer in one piece."""
        gathered = [Gathered() for _ in range(self.n)]
        async for i, said in self.said(steps):
            gathered[i].add(said)
        return self._completion(gathered)

    async def events(self, steps: Stream, keep: Keep | None) -> AsyncIterator[str]:
        """The answer as server-sent events, the last of them `[DONE]`, or an error. `keep` gets it whole."""
        options = self.body.stream_options
        gathered = [Gathered() for _ in range(self.n)]
        try:
            for i in range(self.n):
                yield self._event(i, AnswerMessage(role="assistant", content="", refusal=None))
            async for i, said in self.said(steps):
                gathered[i].add(said)
                logprobs = self._logprobs(said)
                for delta in said.deltas or ([AnswerMessage()] if logprobs and logprobs.content else []):
                    yield self._event(i, delta, logprobs)
                    logprobs = None
                if said.finish_reason is not None:
                    yield self._event(i, AnswerMessage(), None, said.finish_reason)
        except BottegaError as error:
            yield error_event(error)
            return
        if keep is not None:
            await keep(self._completion(gathered))
        if options is not None and options.include_usage:
            yield self._chunk([], self._usage())
        yield "data: [DONE]\n\n"

    def _event(
        self,
        index: int,
        delta: AnswerMessage,
        logprobs: ChatLogprobs | None = None,
        finish_reason: str | None = None,
    ) -> str:
        choice = ChunkChoice.model_validate(
            {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        )
        return self._chunk([choice])

    def _chunk(self, choices: list[ChunkChoice], usage: Usage | None = None) -> str:
        chunk = ChatChunk(
            id=self.id,
            object="chat.completion.chunk",
            created=self.created,
            model=self.body.model,
            choices=choices,
            service_tier="default",
            system_fingerprint=self.fingerprint,
        )
        options = self.body.stream_options
        if options is not None and options.include_usage:
            chunk.usage = usage
        if options is not None and options.include_obfuscation:
            chunk.obfuscation = obfuscation(chunk.model_dump_json(exclude_unset=True))
        return f"data: {chunk.model_dump_json(exclude_unset=True)}\n\n"

    def _completion(self, gathered: list[Gathered]) -> ChatCompletion:
        completion = ChatCompletion(
            id=self.id,
            object="chat.completion",
            created=self.created,
            model=self.body.model,
            choices=[one.choice(i, self._logprobs(one)) for i, one in enumerate(gathered)],
            usage=self._usage(),
            service_tier="default",
            system_fingerprint=self.fingerprint,
        )
        if self.body.metadata is not None:
            completion.metadata = self.body.metadata
        return completion

    def _logprobs(self, said: Said | Gathered) -> ChatLogprobs | None:
        if not self.body.logprobs:
            return None
        return chat_logprobs(self.served.tokenizer, said.tokens)

    def _usage(self) -> Usage:
        return Usage.of(len(self.prompt), self.drawn, self.cached)
