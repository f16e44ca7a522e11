"""From an engine's tokens to text that may be shown: whole characters, cut before the stop strings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bottega.nn.steps import FinishReason, Step, Token
from bottega.server.schema import Logprobs
from bottega.text.stopping import StopStrings
from bottega.text.tokenizer import DecodeStream, Tokenizer
from bottega.text.wordpiece import WordPiece

Placed = tuple[int, Token]  # a token and the character at which its text begins


@dataclass(frozen=True)
class Piece:
    """Text that may be shown, the tokens whose text begins in it, and why the text ends if it does."""

    text: str
    tokens: list[Placed]
    finish_reason: FinishReason | None
    echo: bool = False  # it is the prompt's


class Pieces:
    """Turns the steps of one continuation into pieces of text, whose first character stands at `start`."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str], start: int) -> None:
        self._decoder, self._stops = DecodeStream(tokenizer), StopStrings(stops)
        self._decoded = self._shown = start
        self._pending: list[Placed] = []

    def push(self, step: Step) -> Piece:
        """Take the next step. With a finish reason the piece is the last one."""
        text = ""
        if step.token is not None:
            self._pending.append((self._decoded, step.token))
            text = self._decoder.push(step.token.id)
        if step.finish_reason is not None:
            text += self._decoder.flush()
        self._decoded += len(text)
        shown = self._stops.push(text)
        cut = self._stops.found is not None
        reason: FinishReason | None = "stop" if cut else step.finish_reason
        if reason is not None:
            shown += self._stops.flush()
        self._shown += len(shown)
        whole = reason is not None and not cut
        released = [placed for placed in self._pending if whole or placed[0] < self._shown]
        self._pending = self._pending[len(released) :]
        return Piece(shown, released, reason)


def place(tokenizer: Tokenizer, tokens: Sequence[Token]) -> list[Placed]:
    """Where the text of each token of a prompt begins."""
    decoder, at, placed = DecodeStream(tokenizer), 0, []
    for token in tokens:
        placed.append((at, token))
        at += len(decoder.push(token.id))
    return placed


def token_text(tokenizer: Tokenizer | WordPiece, id: int) -> str:
    """A token as text; one that is no whole characters as `bytes:\\xe2\\x80`, which is OpenAI's way."""
    raw = tokenizer.token_bytes(id)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def legacy_logprobs(tokenizer: Tokenizer, tokens: Sequence[Placed], n_top: int) -> Logprobs:
    """The legacy format. The drawn token is among the alternatives even if it is none of the likeliest."""
    tops: list[dict[str, float] | None] = []
    for _, token in tokens:
        pairs = dict(token.top)
        if token.logprob is not None:
            pairs.setdefault(token.id, token.logprob)
        tops.append({token_text(tokenizer, id): value for id, value in pairs.items()} or None)
    return Logprobs(
        tokens=[token_text(tokenizer, token.id) for _, token in tokens],
        token_logprobs=[token.logprob for _, token in tokens],
        top_logprobs=tops if n_top else None,
        text_offset=[at for at, _ in tokens],
    )
