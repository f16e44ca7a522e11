"""The steps of one client's requests, as its event loop receives them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from bottega.errors import BottegaError
from bottega.nn.steps import Step


class Stream:
    """The steps of the requests of one client, as they are drawn, each with its request's number.

    `with engine.submit(requests) as steps: async for i, step in steps`. Leaving the `with` aborts what is not
    finished: its slots are free within one step. Iterating raises WorkError where the engine fails or stops.
    It belongs to the event loop in which the requests were submitted; `on_abort` is called with the number of
    each request that is aborted.
    """

    def __init__(self, n_requests: int, on_abort: Callable[[int], None]) -> None:
        self.wanted = set(range(n_requests))  # the numbers of the requests that are still to give steps
        self.on_step: Callable[[int, Step], None] | None = None  # told of every step before its client is
        self.loop = asyncio.get_running_loop()
        self._on_abort = on_abort
        self._steps: asyncio.Queue[tuple[int, Step] | BottegaError] = asyncio.Queue()

    def put(self, item: tuple[int, Step] | BottegaError) -> None:
        """Take an item from the engine; called in the client's event loop."""
        self._steps.put_nowait(item)

    def abort(self, number: int | None = None) -> None:
        """The client wants no more of one request, or of any."""
        unwanted = self.wanted & (self.wanted if number is None else {number})
        self.wanted -= unwanted
        for one in unwanted:
            self._on_abort(one)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> tuple[int, Step]:
        while self.wanted:
            item = await self._steps.get()
            if isinstance(item, BottegaError):
                self.abort()
                raise item
            number, step = item
            if number in self.wanted:
                if step.finish_reason is not None:
                    self.wanted.discard(number)
                if self.on_step is not None:
                    self.on_step(number, step)
                return item
        raise StopAsyncIteration
