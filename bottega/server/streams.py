"""Answers that end when their client goes away."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from bottega.engine.stream import Stream
from bottega.errors import BottegaError, InputError
from bottega.server.errors import ApiError, envelope

Answer = TypeVar("Answer")


class EventStream(StreamingResponse):
    """Server-sent events drawn from an engine's stream, which is aborted however the response ends."""

    def __init__(self, steps: Stream, events: AsyncIterator[str]) -> None:
        # Without the second header nginx gathers the events and the text arrives in lumps.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._steps = steps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; a client that goes away cancels this."""
        with self._steps:
            await super().__call__(scope, receive, send)


def error_event(error: BottegaError) -> str:
    """The event that ends a stream whose answer cannot be given: OpenAI's envelope."""
    status = 400 if isinstance(error, InputError) else 503
    return f"data: {json.dumps(envelope(str(error), status))}\n\n"


def obfuscation(event: str) -> str:
    """Random characters that bring an event to the next multiple of 64: its size then tells little."""
    return secrets.token_urlsafe(64)[: 64 - len(event.encode()) % 64]


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Await `work`, but cancel it as soon as the client closes the connection."""
    answer = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise ApiError("The client closed the connection.", status=499)  # for the log: nobody reads it
    finally:
        answer.cancel()
        gone.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
