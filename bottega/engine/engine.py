"""The engine: one thread owns a model and decodes for all its clients, who join and leave between steps.

It takes token ids and yields tokens; it knows neither text nor HTTP. Its face is `submit` and the `Stream`
that comes back; what runs behind it may change without its callers knowing.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bottega.engine.request import Request
from bottega.engine.settings import Statistics
from bottega.engine.stream import Stream
from bottega.errors import WorkError
from bottega.models.generation import Batch
from bottega.models.gpt import GPT
from bottega.nn.sampling import Row
from bottega.nn.sampling_params import check_fits
from bottega.nn.steps import Step

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Place:
    """Where the steps of a row go."""

    stream: Stream
    number: int

    @property
    def wanted(self) -> bool:
        return self.number in self.stream.wanted


class Engine:
    """Continuous batching: up to `slots` requests decode together, the others wait in the order they came."""

    def __init__(self, model: GPT, end_of_text: int, slots: int = 8) -> None:
        self.context_length = model.config.context_length
        self.vocab_size = model.config.vocab_size
        self.on_submit: Callable[[Sequence[Request], Stream], None] | None = None  # told of what is asked
        self._model, self._end_of_text, self._slots = model.eval(), end_of_text, slots
        self._batch = self._new_batch()
        self._waiting: deque[tuple[Row, _Place]] = deque()
        self._running: dict[Row, _Place] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def submit(self, requests: Sequence[Request]) -> Stream:
        """Queue one client's requests. Raises InputError where one does not fit into the context."""
        for request in requests:
            check_fits(request.prompt, request.params, self.context_length, self.vocab_size)
        stream = Stream(len(requests))
        rows = [Row(r.prompt, r.params.seeded(), r.choice, r.score_prompt) for r in requests]
        with self._changed:
            if self._stopping:
                raise WorkError("the engine has stopped")
            self._waiting.extend((row, _Place(stream, i)) for i, row in enumerate(rows))
            self._changed.notify()
        if self.on_submit is not None:
            self.on_submit(requests, stream)
        return stream

    @property
    def load(self) -> tuple[int, int]:
        """How many requests are running and how many wait."""
        return len(self._running), len(self._waiting)

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return not self._stopping

    @property
    def statistics(self) -> Statistics:
        """What the engine is doing."""
        return Statistics(running=len(self._running), waiting=len(self._waiting))

    def stop(self) -> None:
        """Take no more requests and end those under way with an error; returns at once."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def close(self) -> None:
        """Stop and wait for the thread."""
        self.stop()
        self._thread.join()

    def _new_batch(self) -> Batch:
        return Batch(self._model, self._end_of_text, self._slots)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._waiting or self._running)
                if self._stopping:
                    self._fail(WorkError("the server is stopping"))
                    return
                self._drop_aborted()
                free = self._slots - len(self._running)
                newcomers = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
                self._running.update(newcomers)
            try:
                if newcomers:
                    self._deliver(self._batch.join([row for row, _ in newcomers]))
                if self._batch.rows:
                    self._deliver(self._batch.step())
            except Exception as error:
                log.exception("a step of the engine failed")
                self._batch = self._new_batch()
                with self._changed:
                    self._fail(WorkError(f"the engine failed: {error}"))

    def _drop_aborted(self) -> None:
        self._waiting = deque((row, place) for row, place in self._waiting if place.wanted)
        for row in [row for row, place in self._running.items() if not place.wanted]:
            self._batch.leave(row)
            del self._running[row]

    def _deliver(self, steps: list[tuple[Row, Step]]) -> None:
        for row, step in steps:
            place = self._running[row] if step.finish_reason is None else self._running.pop(row)
            place.stream.put((place.number, step))

    def _fail(self, error: WorkError) -> None:
        for stream in {place.stream for place in (*self._running.values(), *dict(self._waiting).values())}:
            stream.put(error)
        self._running.clear()
        self._waiting.clear()
