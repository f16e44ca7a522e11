"""What generation gives, token by token. Without torch: a server passes it on and computes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bottega.errors import BottegaError

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Token:
    """A token with its raw log-probability in nats (None for a prompt's first), and the likeliest there."""

    id: int
    logprob: float | None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Step:
    """What one step gave a row: a token, or none where the end of the text was drawn or nothing was asked."""

    token: Token | None
    finish_reason: FinishReason | None  # "stop": the model ended the text; "length": max_tokens reached
    prompt: tuple[Token, ...] = ()  # in the first step only, where the row asked for it
    embedding: tuple[float, ...] = ()  # of the prompt, in the only step of a row that asked for it
    cached: int = 0  # in the first step only: tokens of the prompt that were read for an earlier one
    error: BottegaError | None = None  # in the last step of a row that cannot go on as asked: why
