"""One life of an engine's process: started, spoken to, listened to, killed."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any

from bottega.engine import worker
from bottega.engine.messages import Abort, Add
from bottega.engine.settings import EngineSettings

log = logging.getLogger(__name__)

_PATIENCE = 5.0  # seconds for each of the things that end when the process does


class Child:
    """An engine's process, with a thread that writes to it, so that a busy engine holds nobody up."""

    def __init__(self, folder: str, settings: EngineSettings) -> None:
        # Not forked: this process has threads, and is to stay without torch.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=worker.main, args=(theirs, folder, settings), name="bottega-engine", daemon=True
        )
        self._process.start()
        theirs.close()
        self._patience, self._hung = settings.step_seconds, False
        self._outbox: SimpleQueue[Add | Abort | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="engine-writer", daemon=True)
        self._writer.start()

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return self._process.pid

    def send(self, message: Add | Abort) -> None:
        """Tell the engine something; returns at once, and a dead engine hears nothing."""
        self._outbox.put(message)

    def messages(self, awaited: Callable[[], bool]) -> Iterator[Any]:
        """What the engine says, until it ends; it is killed if silent for too long while `awaited()`.

        Loading has no bound, for a disk may be slow: nobody is kept waiting then, requests get 503.
        """
        tick, silent = min(1.0, self._patience / 10), 0.0
        try:
            while True:
                # In short waits, so that the sleep of a whole machine does not count as the engine's.
                if self._connection.poll(tick):
                    silent = 0.0
                    yield self._connection.recv()
                    continue
                silent = silent + tick if awaited() else 0.0
                if silent >= self._patience:
                    self._hung = True
                    log.error("no step of the engine ended within %g seconds: it is killed", self._patience)
                    self.kill()
                    return
        except (EOFError, OSError):
            return

    def kill(self) -> None:
        """End the process, which holds nothing that is worth saving."""
        self._process.kill()

    def bury(self) -> str:
        """Release what a process that has ended leaves behind; returns how it ended, in words."""
        self._process.join(_PATIENCE)
        self.kill()  # it closed the pipe and lives on: nobody could reach it any more
        self._process.join(_PATIENCE)
        self._outbox.put(None)
        self._writer.join(_PATIENCE)
        self._connection.close()
        if self._process.exitcode is None:  # it waits for a device, where no signal reaches it
            log.error("the engine's process %s does not end", self.pid)
            return "it cannot be killed"
        code = self._process.exitcode
        self._process.close()
        if self._hung:
            return f"no step ended within {self._patience:g} seconds"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _write(self) -> None:
        while (message := self._outbox.get()) is not None:
            batch = [message]
            try:
                while (message := self._outbox.get_nowait()) is not None:
                    batch.append(message)
            except Empty:
                pass
            try:
                self._connection.send(batch)
            except OSError:  # it is gone, which its listener notices too
                return
            except Exception:  # whoever cannot be told of requests would keep their clients waiting for ever
                log.exception("the engine cannot be written to")
                self.kill()
                return
            if message is None:
                return
