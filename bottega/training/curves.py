"""A run's curves: one JSON object a line in curves.jsonl, and TensorBoard's event files if installed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from bottega.training.events import Event, SampleEvent, StepEvent, ValidationEvent

FILE = "curves.jsonl"
FLUSH_SECONDS = 2.0
BOARD_SECONDS = 1.0  # between points for TensorBoard: writing one costs as much as a small model's step


class Curves:
    """Writes what happens; on resume, what came after the checkpoint is cut off first, so that no step is
    told twice.

    `position` is the length of curves.jsonl in bytes at the checkpoint, `step` the checkpoint's.
    """

    def __init__(self, out: Path, position: int, step: int) -> None:
        self.file = (out / FILE).open("ab")
        self.file.truncate(position)
        self.file.seek(0, 2)
        self.flushed = self.boarded = time.monotonic()
        self.board = _tensorboard(out / "tensorboard", step)

    def __call__(self, event: Event) -> None:
        """Write one event."""
        if isinstance(event, StepEvent):
            self._line("step", vars(event))
            if time.monotonic() - self.boarded < BOARD_SECONDS and event.step != event.steps:
                return
            self.boarded = time.monotonic()
            scalars = {"loss": event.loss, "learning_rate": event.learning_rate, **event.metrics}
            scalars |= {"gradient_norm": event.gradient_norm, "tokens_per_second": event.tokens_per_second}
            self._scalars("training", event.step, scalars)
        elif isinstance(event, ValidationEvent):
            self._line("validation", vars(event))
            self._scalars("held-out", event.step, event.values)
        elif isinstance(event, SampleEvent):
            self._line("sample", vars(event))
            if self.board is not None:
                self.board.add_text("sample", event.text, event.step)

    def position(self) -> int:
        """Return the bytes written so far, after bringing them to the disk."""
        self._flush()
        os.fsync(self.file.fileno())
        return self.file.tell()

    def close(self) -> None:
        """Write what is left."""
        self.file.close()
        if self.board is not None:
            self.board.close()

    def _line(self, kind: str, values: dict[str, Any]) -> None:
        rounded = {k: float(f"{v:.7g}") if isinstance(v, float) else v for k, v in values.items()}
        self.file.write(json.dumps({"event": kind, **rounded}).encode() + b"\n")
        if time.monotonic() - self.flushed > FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        self.file.flush()
        self.flushed = time.monotonic()

    def _scalars(self, group: str, step: int, values: dict[str, float]) -> None:
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(f"{group}/{name}", value, step)


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
