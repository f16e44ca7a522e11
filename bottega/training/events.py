"""What a run tells while it works: plain values, for the display, the curves and anyone who listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class StepEvent:
    """One update. `loss` is in nats a target over the whole batch; `seconds` is training time so far.

    Training time is compiling and stepping, without validation, samples and checkpoints. `steps` is None
    until a budget in minutes has been turned into steps; `share_of_peak` is None where FLOPs or the peak are
    not known. What is counted as tokens is named by `unit`: pictures, where the model reads no text.
    """

    step: int
    steps: int | None
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens: int
    tokens_per_second: float
    share_of_peak: float | None
    seconds: float
    seconds_left: float | None
    metrics: dict[str, float] = field(default_factory=dict)
    unit: str = "tokens"


@dataclass(frozen=True)
class ValidationEvent:
    """The whole held-out split: `values["loss"]` in nats a target, `values["bits_per_byte"]` where known."""

    step: int
    seconds: float
    values: dict[str, float]
    best: bool


@dataclass(frozen=True)
class SampleEvent:
    """What the model says at this step."""

    step: int
    text: str


@dataclass(frozen=True)
class CheckpointEvent:
    """A complete checkpoint folder is on the disk."""

    step: int
    folder: Path


@dataclass(frozen=True)
class Notice:
    """One line that the user should see: an estimate, a warning, a decision."""

    text: str


Event = StepEvent | ValidationEvent | SampleEvent | CheckpointEvent | Notice
Listener = Callable[[Event], None]
