"""What a server and its engine's process tell each other over their pipe. Without torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from bottega.engine.request import Request
from bottega.engine.settings import Statistics
from bottega.nn.steps import Step


@dataclass(frozen=True)
class Add:
    """To the engine: continue a prompt; what comes of it carries this number."""

    id: int
    request: Request


@dataclass(frozen=True)
class Abort:
    """To the engine: nobody waits for this request any more."""

    id: int


@dataclass(frozen=True)
class Ready:
    """From the engine: the model is loaded, and can read so many tokens at once."""

    context_length: int


@dataclass(frozen=True)
class Unfit:
    """From the engine, before it leaves: the model cannot be served, and trying again would not help."""

    reason: str


@dataclass(frozen=True)
class Progress:
    """From the engine, after a step or a message: what has come of the requests."""

    steps: list[tuple[int, Step]]
    aborted: list[int] = field(default_factory=list)  # their place is free again
    refused: list[tuple[int, str]] = field(default_factory=list)  # by a fault of theirs, each with the reason
    failed: list[tuple[int, str]] = field(default_factory=list)  # by a fault of the engine's
    statistics: Statistics = field(default_factory=Statistics)
