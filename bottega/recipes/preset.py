"""What a preset is: a model's shape, how it is trained, and the job that does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottega.errors import InputError
from bottega.interop.locate import read_json
from bottega.training.config import TrainingConfig
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
    base: str = ""
    """The preset whose run --model names, where it begins from one."""

    @property
    def resumes(self) -> bool:
        """Whether the same command goes on with a run that was stopped; what is counted starts again."""
        kind = self.training if isinstance(self.training, type) else type(self.training)
        return issubclass(kind, TrainingConfig)


def check_free(out: Path, model_type: str) -> None:
    """Raise InputError where a model would bury something else in `out`, before long work ends in it."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; expected a folder for the model; name another")
    other = (out / "config.json").exists() and read_json(out / "config.json").get("model_type") != model_type
    if other or any(out.glob("step-*")):
        raise InputError(f"{out} holds another kind of model; name another folder")
