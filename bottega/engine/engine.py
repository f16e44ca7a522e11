"""The engine as the server holds it: a client of the process that owns the model, and its guardian.

It takes token ids and yields tokens; it knows neither text nor HTTP, and imports no torch. When the process
dies, or a step does not end, the requests under way fail, and it is started again.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bottega.engine.child import Child
from bottega.engine.messages import Abort, Add, Progress, Ready, Unfit
from bottega.engine.request import EngineFailed, Overloaded, Request
from bottega.engine.settings import EngineSettings, Statistics
from bottega.engine.stream import Stream
from bottega.errors import BottegaError, InputError, WorkError
from bottega.models.load import is_encoder, resolve, sizes
from bottega.nn.sampling_params import check_fits
from bottega.nn.steps import Step

log = logging.getLogger(__name__)

TRIES = 3  # deaths in a row while loading, after which it is not started again
PAUSES = (0.1, 30.0)  # seconds before a start: the first pause, doubled at each death up to the last
HEALTHY = 60.0  # seconds of service after which a death is taken for the first one


@dataclass(frozen=True)
class _Place:
    """Where the steps of a request go."""

    stream: Stream
    number: int


class Engine:
    """Continuous batching in a process of its own, started with `Engine.start`.

    `slots + queue` requests may be under way; who comes then is told to come later. It is `ready` from when
    the model is loaded until the process dies, and again after that. `statistics` are those after the
    process's last step, `restarts` how often it was started again.
    """

    def __init__(self, folder: Path, settings: EngineSettings) -> None:
        self.context_length, self.vocab_size, self.width = sizes(folder)
        self.embeds_only = is_encoder(folder)  # it generates nothing
        self.settings, self.statistics = settings, Statistics()
        self.ready, self.restarts = False, 0
        self.on_submit: Callable[[Sequence[Request], Stream], None] | None = None  # told of what is asked
        self._folder = folder
        self._lock = threading.RLock()  # of what follows; a signal's handler may call what it has interrupted
        self._child: Child | None = None
        self._places: dict[int, _Place] = {}
        self._next_id = 0
        self._finished: deque[float] = deque([time.monotonic()], maxlen=64)  # when the last ones did
        self._closed: BottegaError | None = None  # why no more requests are taken, for good
        self._stopping = threading.Event()
        self._guardian = threading.Thread(target=self._guard, name="engine", daemon=True)

    @classmethod
    def start(cls, path: str | Path, settings: EngineSettings | None = None) -> Engine:
        """Start the process; returns at once, while the model is loading.

        Raises InputError where `path` holds neither a GPT nor a sentence encoder.
        """
        engine = cls(resolve(path), settings or EngineSettings())
        engine._guardian.start()
        # Of one that nobody closed a new process would follow the killed one as Python ends.
        atexit.register(engine.stop)
        return engine

    def submit(self, requests: Sequence[Request]) -> Stream:
        """Queue one client's requests, in a running event loop.

        Raises InputError where one does not fit into the context, Overloaded where the queue is full, and
        WorkError while there is no engine to take them.
        """
        for request in requests:
            check_fits(request.prompt, request.params, self.context_length, self.vocab_size)
        with self._lock:
            child = self._open(len(requests))
            first = self._next_id
            self._next_id += len(requests)
            stream = Stream(len(requests), lambda number: self._abort(first + number))
            for number, request in enumerate(requests):
                self._places[first + number] = _Place(stream, number)
                child.send(Add(first + number, replace(request, params=request.params.seeded())))
        if self.on_submit is not None:
            self.on_submit(requests, stream)
        return stream

    @property
    def most(self) -> int:
        """How many requests may be under way, running and waiting."""
        return self.settings.slots + self.settings.queue

    @property
    def load(self) -> tuple[int, int]:
        """How many requests are running and how many wait."""
        running = self.statistics.running
        return running, max(0, len(self._places) - running)

    @property
    def pid(self) -> int | None:
        """The id of the process, where there is one."""
        child = self._child
        return None if child is None else child.pid

    async def wait_ready(self) -> None:
        """Wait until the model is loaded; raises InputError or WorkError where it never will be."""
        while not self.ready:
            if self._closed is not None:
                raise self._closed
            await asyncio.sleep(0.01)

    def drain(self) -> None:
        """Take no more requests; those under way go on."""
        with self._lock:
            self._closed = self._closed or WorkError("the server is stopping")

    def stop(self) -> None:
        """Take no more requests and end those under way with an error; returns at once."""
        self.drain()
        self._stopping.set()
        with self._lock:
            if self._child is not None:
                self._child.kill()

    def close(self) -> None:
        """Stop, and wait until the process is gone."""
        self.stop()
        self._guardian.join()
        atexit.unregister(self.stop)

    def _open(self, count: int) -> Child:
        if self._closed is not None:
            raise self._closed
        if not self.ready or self._child is None:
            raise WorkError("the model is being loaded; try again in a few seconds")
        if count > self.most:
            raise InputError(
                f"{count} continuations at once, but the engine takes at most {self.most}; ask less"
            )
        if len(self._places) + count > self.most:
            spent = time.monotonic() - self._finished[0]
            wait = self.settings.slots / 2 * spent / len(self._finished)  # until half the slots have changed
            raise Overloaded(
                f"{len(self._places)} requests are under way, and the queue is full; try again later",
                retry_after=min(max(wait, 1.0), 60.0),
            )
        return self._child

    def _abort(self, id: int) -> None:
        with self._lock:
            if id in self._places and self._child is not None:
                self._child.send(Abort(id))

    def _guard(self) -> None:
        try:
            self._live()
        except Exception as error:  # such as no more files or memory for another process
            log.exception("the engine of %s cannot be kept running", self._folder)
            self._closed = self._closed or WorkError(f"the engine cannot be started: {error}")
            self._fail(WorkError(str(self._closed)))

    def _live(self) -> None:
        """Start the process, pass on what it says, and start it again when it dies."""
        deaths, pause = 0, PAUSES[0]
        while True:
            began = time.monotonic()
            with self._lock:
                if self._stopping.is_set():
                    return
                child = self._child = Child(str(self._folder), self.settings)
            for message in child.messages(lambda: bool(self._places)):
                self._take(message)
            with self._lock:
                was_ready, self.ready, self._child = self.ready, False, None
            how = child.bury()
            if self._closed is not None:  # it was stopped, or cannot serve the model
                self._fail(WorkError(str(self._closed)))
                return
            log.error("the engine of %s died (%s)", self._folder, how)
            self._fail(EngineFailed(f"the engine died ({how}) and is being started again"))
            deaths = 0 if was_ready else deaths + 1
            if deaths == TRIES:
                self._closed = WorkError(f"the engine died {TRIES} times while it loaded the model ({how})")
                return
            healthy = was_ready and time.monotonic() - began > HEALTHY
            pause = PAUSES[0] if healthy else min(2 * pause, PAUSES[1])
            self._stopping.wait(pause)
            self.restarts += not self._stopping.is_set()

    def _take(self, message: Ready | Unfit | Progress) -> None:
        if isinstance(message, Ready):
            self.context_length, self.ready = message.context_length, True
        elif isinstance(message, Unfit):
            self._closed = InputError(message.reason)
        else:
            self._deliver(message)

    def _deliver(self, progress: Progress) -> None:
        given: list[tuple[_Place | None, Step | BottegaError]] = []
        with self._lock:
            self.statistics = progress.statistics
            for id, step in progress.steps:
                if step.finish_reason is None:
                    given.append((self._places.get(id), step))
                else:
                    self._finished.append(time.monotonic())
                    end = step.error or step
                    given.append((self._places.pop(id, None), end))
            given += [(self._places.pop(id, None), InputError(why)) for id, why in progress.refused]
            for id, why in progress.failed:
                given.append((self._places.pop(id, None), EngineFailed(f"the engine failed: {why}")))
            for id in progress.aborted:
                self._places.pop(id, None)
        _hand_over(given)

    def _fail(self, error: WorkError) -> None:
        with self._lock:
            self.statistics = replace(self.statistics, running=0, waiting=0, kv_blocks_used=0)
            places = list(self._places.values())
            self._places.clear()
        _hand_over([(place, error) for place in places])


def _hand_over(given: Sequence[tuple[_Place | None, Step | BottegaError]]) -> None:
    """Wake each client's event loop once, with all that is for it."""
    loops: defaultdict[asyncio.AbstractEventLoop, list[tuple[_Place, Step | BottegaError]]]
    loops = defaultdict(list)
    for place, item in given:
        if place is not None:
            loops[place.stream.loop].append((place, item))
    for loop, items in loops.items():
        try:
            loop.call_soon_threadsafe(_put, items)
        except RuntimeError:  # the loop is closed: nobody listens any more
            for place, _ in items:
                place.stream.abort()


def _put(items: Sequence[tuple[_Place, Step | BottegaError]]) -> None:
    for place, item in items:
        place.stream.put(item if isinstance(item, BottegaError) else (place.number, item))
