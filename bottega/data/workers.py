"""An ordered map over processes: for work that holds Python's lock, such as turning token ids into arrays."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from bottega.errors import WorkError

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """`map(work, items)` in the order of `items`, by `workers` processes (1: in this one).

    `items` is read in this process, at most three per worker ahead, so a stream of any length fits in memory.
    `work` must be picklable. Raises what `work` raises, and `WorkError` where a worker dies.
    """
    if workers == 1:
        yield from map(work, items)
        return
    # Spawned, not forked: a fork of a process that runs threads (tokenizers, torch) may hang.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_settle_worker)
    try:
        ahead: deque[Future[Result]] = deque()
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) >= 3 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    except BrokenProcessPool:
        raise WorkError(
            "a worker process died: no memory left, or the calling script lacks `if __name__ == '__main__'`; "
            "use fewer workers (1 starts no process)"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _settle_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent answers it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A worker holds both ends of its own queue, so it would wait for ever on a parent that was killed.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
