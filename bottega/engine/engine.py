"""The engine: one thread owns a model and decodes for all its clients, who join and leave between steps.

It takes token ids and yields tokens; it knows neither text nor HTTP. Its face is `submit` and the `Stream`
that comes back; what runs behind it may change without its callers knowing.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from dataclasses import dataclass
from types import TracebackType

from bottega.errors import BottegaError, WorkError
from bottega.models.generation import Batch, Step, check_fits
from bottega.models.gpt import GPT
from bottega.nn.sampling import Row, SamplingParams

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """One continuation of one prompt. `choice` tells apart the continuations of a prompt under one seed."""

    prompt: list[int]
    params: SamplingParams
    choice: int = 0
    score_prompt: bool = False  # the first step then carries the prompt's own log-probabilities


class Stream:
    """The steps of one request as they are drawn: `with engine.submit(r) as steps: async for step in steps`.

    Leaving the `with` aborts the request: its slot is free within one step. Iterating raises WorkError where
    the engine fails or stops. It belongs to the event loop in which the request was submitted.
    """

    def __init__(self, request: Request) -> None:
        self.row = Row(request.prompt, request.params.seeded(), request.choice, request.score_prompt)
        self.aborted = False
        self._loop = asyncio.get_running_loop()
        self._steps: asyncio.Queue[Step | BottegaError] = asyncio.Queue()
        self._finished = False

    def put(self, item: Step | BottegaError) -> None:
        """Hand an item over to the client's event loop; called by the engine's thread."""
        try:
            self._loop.call_soon_threadsafe(self._steps.put_nowait, item)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self.aborted = True

    def abort(self) -> None:
        """The client wants no more."""
        self.aborted = True

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Step:
        if self._finished:
            raise StopAsyncIteration
        item = await self._steps.get()
        self._finished = isinstance(item, BottegaError) or item.finish_reason is not None
        if isinstance(item, BottegaError):
            raise item
        return item


class Engine:
    """Continuous batching: up to `slots` requests decode together, the others wait in the order they came."""

    def __init__(self, model: GPT, end_of_text: int, slots: int = 8) -> None:
        self.context_length = model.config.context_length
        self.vocab_size = model.config.vocab_size
        self._model, self._end_of_text, self._slots = model.eval(), end_of_text, slots
        self._batch = self._new_batch()
        self._waiting: deque[Stream] = deque()
        self._running: dict[Row, Stream] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> Stream:
        """Queue a request; the stream yields its steps. Raises InputError where the context is too short."""
        check_fits(request.prompt, request.params, self.context_length, self.vocab_size)
        stream = Stream(request)
        with self._changed:
            if self._stopping:
                raise WorkError("the engine has stopped")
            self._waiting.append(stream)
            self._changed.notify()
        return stream

    @property
    def load(self) -> tuple[int, int]:
        """How many requests are running and how many wait."""
        return len(self._running), len(self._waiting)

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
                self._running.update((stream.row, stream) for stream in newcomers)
            try:
                if newcomers:
                    self._deliver(self._batch.join([stream.row for stream in newcomers]))
                if self._batch.rows:
                    self._deliver(self._batch.step())
            except Exception as error:
                log.exception("a step of the engine failed")
                self._batch = self._new_batch()
                with self._changed:
                    self._fail(WorkError(f"the engine failed: {error}"))

    def _drop_aborted(self) -> None:
        self._waiting = deque(stream for stream in self._waiting if not stream.aborted)
        for row in [row for row, stream in self._running.items() if stream.aborted]:
            self._batch.leave(row)
            del self._running[row]

    def _deliver(self, steps: list[tuple[Row, Step]]) -> None:
        for row, step in steps:
            stream = self._running[row] if step.finish_reason is None else self._running.pop(row)
            stream.put(step)

    def _fail(self, error: WorkError) -> None:
        for stream in (*self._running.values(), *self._waiting):
            stream.put(error)
        self._running.clear()
        self._waiting.clear()
