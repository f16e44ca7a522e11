"""How far a preparation is: numbers for any display, and a live bar for the terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """What is done so far. `total_bytes` (of text) is known only where the documents came as a sequence."""

    documents: int
    tokens: int
    text_bytes: int
    seconds: float
    total_bytes: int | None = None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end at the mean speed so far, or None where the end is not known."""
        if self.total_bytes is None or not self.text_bytes:
            return None
        return self.seconds * (self.total_bytes - self.text_bytes) / self.text_bytes


class Tally:
    """Sums what is done and tells `listener`, if there is one."""

    def __init__(self, listener: Callable[[Progress], None] | None, total_bytes: int | None):
        self.listener, self.total_bytes, self.start = listener, total_bytes, time.monotonic()
        self.documents = self.tokens = self.text_bytes = 0

    def add(self, documents: int, tokens: int, text_bytes: int) -> None:
        """Count what has been done since the last call."""
        self.documents += documents
        self.tokens += tokens
        self.text_bytes += text_bytes
        if self.listener is not None:
            seconds = time.monotonic() - self.start
            self.listener(Progress(self.documents, self.tokens, self.text_bytes, seconds, self.total_bytes))


@contextlib.contextmanager
def progress_bar(label: str = "tokenising") -> Iterator[Callable[[Progress], None]]:
    """A live bar on stderr for `prepare(…, progress=bar)`: megabytes, speed, and time left if known.

    Where stderr is no terminal nothing is shown.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)  # stdout is for results
    numbers = DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    columns = TextColumn("{task.description}"), BarColumn(), *numbers
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None)

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.text_bytes, total=progress.total_bytes)

        yield show
