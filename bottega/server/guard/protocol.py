"""HTTP/1.1 with bounds: on the size of heads, on how long a client may be slow, and on how many come at once.

Neither httptools nor uvicorn has them: both would wait for ever.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bottega.server.errors import envelope
from bottega.server.guard.door import ALWAYS_OPEN
from bottega.server.observe.request_log import account_unread

MAX_HEAD_BYTES = 2**16  # of the request line and the headers together
HEAD_SECONDS = 30.0  # from a connection's beginning, or the answer before, to the end of a request's head
UNREAD_SECONDS = 120.0  # for which a client may take nothing of an answer that waits for it
_POLITENESS = 1.0  # seconds for which the rest of a refused request is read and dropped
_REASONS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


class BoundedProtocol(HttpToolsProtocol):
    """Answers 431 to large heads, 408 to slow ones, 400 to what is no HTTP, 503 to one connection too many.

    All in the envelope. The application never sees those; its metrics count them.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._head_bytes = 0  # of the head that is being read
        self._in_head, self._refused = True, False
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It went."""
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not take what was sent."""
        super().pause_writing()
        self._await_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """It has taken most of it."""
        self._stop_watching()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Bytes came; those of a refused request are dropped."""
        if self._refused:
            return
        super().data_received(data)
        if self._in_head and not self._refused:
            self._head_bytes += len(data)
            self._check_size()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        if self._deadline is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """The head is whole; one that came in a single piece is measured here."""
        self._in_head = False
        self._stop_waiting()
        self._head_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        self._check_size()
        app: Any = self.config.app
        most = app.state.max_connections
        path = self.url.partition(b"?")[0].decode("latin-1")
        if len(self.connections) > most and path not in ALWAYS_OPEN and not self._refused:
            self._refuse(503, f"There are more than {most} connections; come back in a moment.")
        if not self._refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer was given: what is left of its request, and the next one's head, have to come in time."""
        super().on_response_complete()
        if self.cycle.response_complete and self._deadline is None:  # else another request is in the pipe
            self._head_bytes = 0
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(400, msg)

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _await_reader(self, left: int) -> None:
        """Look later whether the client has taken any of the `left` bytes; until then none are added."""
        self._unread = self.loop.call_later(UNREAD_SECONDS, self._look_at_reader, left)

    def _look_at_reader(self, left: int) -> None:
        now = self.transport.get_write_buffer_size()
        if now < left:
            self._await_reader(now)
        else:
            self.transport.abort()

    def _stop_watching(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _check_size(self) -> None:
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, f"The request line and headers are larger than {MAX_HEAD_BYTES} bytes.")

    def _too_slow(self) -> None:
        if not self._head_bytes:  # a connection that was opened for later: nobody awaits an answer
            self.transport.close()
            return
        self._refuse(408, f"The headers did not arrive within {HEAD_SECONDS:g} seconds.")

    def _refuse(self, status: int, message: str) -> None:
        self._stop_waiting()
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:  # the fault is in the body
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.close()
                return
        app: Any = self.config.app
        account_unread(app.state.metrics, status, message)
        body = json.dumps(envelope(message, status)).encode()
        later = b"retry-after: 5\r\n" if status == 503 else b""
        head = (
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\n%s"
            b"content-length: %d\r\nconnection: close\r\n\r\n" % (status, _REASONS[status], later, len(body))
        )
        self.transport.write(head + body)
        # Closing on unread bytes resets the connection, and the client might never see why it was refused.
        self.loop.call_later(_POLITENESS, self.transport.close)
