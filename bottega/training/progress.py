"""The live display of a run in a terminal; plain lines, now and then, where there is none."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bottega.training.events import CheckpointEvent, Event, Notice, SampleEvent, StepEvent, ValidationEvent

LINE_SECONDS = 10.0  # between plain lines
SAMPLE_LINES = 8


class Display:
    """A listener for `train`, used as `with Display() as show: train(…, on_event=show)`."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self.step: StepEvent | None = None
        self.validations: list[ValidationEvent] = []
        self.sample = ""
        self.lined = float("-inf")
        self.live = Live(console=self.console, auto_refresh=False, transient=False)

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, StepEvent):
            self.step = event
            if not self.console.is_terminal and time.monotonic() - self.lined >= LINE_SECONDS:
                self.lined = time.monotonic()
                self._line(_step_line(event))
        elif isinstance(event, ValidationEvent):
            self.validations.append(event)
            if not self.console.is_terminal:
                self._line(
                    f"step {event.step:,} · held out: {_values(event)}{' (best)' if event.best else ''}"
                )
        elif isinstance(event, SampleEvent):
            self.sample = event.text
        elif isinstance(event, Notice):
            self._line(event.text)
        elif isinstance(event, CheckpointEvent) and not self.console.is_terminal:
            self._line(f"saved {event.folder}")
        if self.console.is_terminal:
            self.live.update(self._drawn(), refresh=not isinstance(event, StepEvent) or self._due())

    def _line(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)

    def _due(self) -> bool:
        """Redraw five times a second at most: a fast model takes hundreds of steps in that time."""
        due = time.monotonic() - self.lined > 0.2
        self.lined = time.monotonic() if due else self.lined
        return due

    def _drawn(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self.step is not None:
            step = self.step
            bar = ProgressBar(total=step.steps, completed=step.step, pulse=step.steps is None)
            row = Table.grid(padding=(0, 1), expand=True)
            row.add_column(ratio=1)
            row.add_column(justify="right", no_wrap=True)
            total = "…" if step.steps is None else f"{step.steps:,}"
            left = "timing" if step.seconds_left is None else f"{duration(step.seconds_left)} left"
            row.add_row(bar, f"{step.step:,}/{total} steps · {left}")
            parts += [row, self._numbers(step)]
        if self.sample:
            text = "\n".join(self.sample.splitlines()[:SAMPLE_LINES])
            parts.append(Panel(Text(text), title="sample", title_align="left", border_style="dim"))
        return Group(*parts)

    def _numbers(self, step: StepEvent) -> Table:
        names, values = ["loss"], [f"{step.loss:.3f}"]
        if self.validations:
            for name, value in self.validations[-1].values.items():
                names.append(f"held-out {name.replace('_', ' ')}")
                values.append(f"{value:.3f}")
        names += [f"{step.unit}/s", "of the peak"]
        values.append(f"{step.tokens_per_second:,.0f}")
        values.append("—" if step.share_of_peak is None else f"{step.share_of_peak:.0%}")
        names += ["rate", step.unit, "time"]
        values += [f"{step.learning_rate:.1e}", f"{step.tokens:,}", duration(step.seconds)]
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in names:
            table.add_column(name, no_wrap=True)
        table.add_row(*values)
        return table


def duration(seconds: float) -> str:
    """Write seconds as 9 s, 3:07 or 2:03:07."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if minutes >= 60:
        return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{whole} s"


def _values(event: ValidationEvent) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in event.values.items())


def _step_line(event: StepEvent) -> str:
    of = "" if event.steps is None else f"/{event.steps:,}"
    share = "" if event.share_of_peak is None else f" · {event.share_of_peak:.0%} of the peak"
    left = "" if event.seconds_left is None else f" · {duration(event.seconds_left)} left"
    speed = f"{event.tokens_per_second:,.0f} {event.unit}/s"
    return f"step {event.step:,}{of} · loss {event.loss:.3f} · {speed}{share}{left}"
