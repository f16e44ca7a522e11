"""What a client asks of an engine. Without torch: a request crosses from one process to another."""

from __future__ import annotations

from dataclasses import dataclass

from bottega.errors import WorkError
from bottega.nn.sampling_params import SamplingParams


@dataclass(frozen=True)
class Request:
    """One continuation of one prompt. `choice` tells apart the continuations of a prompt under one seed."""

    prompt: list[int]
    params: SamplingParams
    choice: int = 0
    score_prompt: bool = False  # the first step then carries the prompt's own log-probabilities
    embed: bool = False  # the only step then carries the mean of the prompt's last states, of unit length
    grammar: str | None = None  # llguidance's own format; the output then is a sentence of it
    salt: str = ""  # whose prompts may share cached prefixes: those under the same salt


NOT_FINITE = "the engine failed: the model gives no finite numbers; its weights are damaged or have diverged"


class EngineFailed(WorkError):
    """A step broke while the request was under way, by its own fault or that of another in the same step."""


class Overloaded(WorkError):
    """The engine's queue is full. `retry_after` is a guess in seconds at when there is room."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
