"""What a preset is: a model's shape, how it is trained, and the job that does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottega.training.events import Listener

Job = Callable[[Any, tuple[str, ...], Path, Any, Listener | None], str]


@dataclass(frozen=True)
class Preset:
    """One row of `bottega train --list`, and all that `bottega train NAME` needs.

    `shape` is an instance of the model's configuration and `training` one of the run's options
    (`TrainingConfig` for what descends a gradient; the class itself where the user has to name the budget).
    Their fields become options of the command line, but for those in `not_offered`.
    `run(shape, data, out, training, on_event)` trains on `data`, the words given as --data, writes the run
    `out`, and returns what to print at the end.
    """

    about: str
    shape: Any
    training: Any
    run: Job
    data: str
    """What --data may be."""
    minutes: float | None = None
    """How long it takes on two cores with these options; None where nobody has waited."""
    expected: str = ""
    """What it then reaches, on which data; empty where it was not measured."""
    not_offered: tuple[str, ...] = ()
