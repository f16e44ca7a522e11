"""From pieces of text to what a chat answers with: contents, calls, log-probabilities."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from bottega.nn.steps import Token
from bottega.server.chat.answer import (
    Alternative,
    AnswerMessage,
    CallPart,
    ChatChoice,
    ChatLogprobs,
    FunctionPart,
    Reason,
    TokenLogprob,
)
from bottega.server.chat.calls import CallParser, Delta
from bottega.server.chat.reading import Tools
from bottega.server.completions.pieces import Piece
from bottega.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Said:
    """The next of an answer: deltas of its message, the tokens behind them, and why it ends if it does."""

    deltas: list[AnswerMessage]
    tokens: list[Token]
    finish_reason: Reason | None


class Wording:
    """Words the pieces of one answer as deltas of its message."""

    def __init__(self, tools: Tools) -> None:
        self._parser = CallParser() if tools.calls is not None else None
        self._legacy = tools.legacy

    def push(self, piece: Piece) -> Said:
        """Take the next piece."""
        tokens, reason = [token for _, token in piece.tokens], piece.finish_reason
        if self._parser is None:
            deltas = [AnswerMessage(content=piece.text)] if piece.text else []
            return Said(deltas, tokens, reason)
        found = self._parser.push(piece.text, last=reason is not None)
        called = reason == "stop" and self._parser.n_calls > 0
        ending: Reason | None = ("function_call" if self._legacy else "tool_calls") if called else reason
        return Said([self._delta(one) for one in found], tokens, ending)

    def _delta(self, delta: Delta) -> AnswerMessage:
        if delta.call is None:
            return AnswerMessage(content=delta.text)
        part = FunctionPart(arguments=delta.text)
        if delta.name is not None:
            part = FunctionPart(name=delta.name, arguments="")
        if self._legacy:
            return AnswerMessage(function_call=part)
        if delta.name is None:
            return AnswerMessage(tool_calls=[CallPart(index=delta.call, function=part)])
        id = f"call_{secrets.token_hex(12)}"
        return AnswerMessage(tool_calls=[CallPart(index=delta.call, id=id, type="function", function=part)])


@dataclass
class Gathered:
    """All that one answer has said."""

    content: str = ""
    calls: list[CallPart] = field(default_factory=list)
    function_call: FunctionPart | None = None
    tokens: list[Token] = field(default_factory=list)
    finish_reason: Reason = "stop"

    def add(self, said: Said) -> None:
        """Take the next of it."""
        self.tokens += said.tokens
        self.finish_reason = said.finish_reason or self.finish_reason
        for delta in said.deltas:
            self.content += delta.content or ""
            for part in delta.tool_calls or []:
                if part.id is not None:
                    self.calls.append(CallPart(id=part.id, type="function", function=part.function))
                else:
                    self.calls[-1].function.arguments += part.function.arguments
            if delta.function_call is not None and delta.function_call.name is not None:
                self.function_call = delta.function_call
            elif delta.function_call is not None and self.function_call is not None:
                self.function_call.arguments += delta.function_call.arguments

    def choice(self, index: int, logprobs: ChatLogprobs | None) -> ChatChoice:
        """The whole answer."""
        called = self.calls or self.function_call
        message = AnswerMessage(role="assistant", content=None if called else self.content, refusal=None)
        if called and self.content:
            message.content = self.content
        if self.calls:
            message.tool_calls = self.calls
        if self.function_call is not None:
            message.function_call = self.function_call
        return ChatChoice(index=index, message=message, logprobs=logprobs, finish_reason=self.finish_reason)


def chat_logprobs(tokenizer: Tokenizer, tokens: Sequence[Token]) -> ChatLogprobs:
    """The chat format of log-probabilities."""

    def alternative(id: int, logprob: float | None) -> Alternative:
        raw = tokenizer.token_bytes(id)
        # OpenAI's clients take these for finite numbers.
        value = max(logprob if logprob is not None else 0.0, -9999.0)
        return Alternative(token=raw.decode(errors="replace"), logprob=value, bytes=list(raw))

    return ChatLogprobs(
        content=[
            TokenLogprob(
                **alternative(token.id, token.logprob).model_dump(),
                top_logprobs=[alternative(id, logprob) for id, logprob in token.top],
            )
            for token in tokens
        ],
        refusal=None,
    )
