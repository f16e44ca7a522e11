"""HTTP/1.1 whose request heads are bounded in size and in time: httptools itself would read on for ever."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bottega.server.errors import envelope
from bottega.server.observe.request_log import account_unread

MAX_HEAD_BYTES = 2**16  # of the request line and the headers together
HEAD_SECONDS = 30.0  # from the first byte of a connection or of a next request to the end of its head
_POLITENESS = 1.0  # seconds for which the rest of a refused request is read and dropped
_REASONS = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class BoundedProtocol(HttpToolsProtocol):
    """Answers 431 to heads that are too large, 408 to slow ones, 400 to what is no HTTP; in the envelope.

    The application never sees those; its metrics count them.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._head_bytes = 0  # of the head that is being read
        self._in_head, self._refused = True, False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It went."""
        self._stop_waiting()
        super().connection_lost(exc)

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

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(400, msg)

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)

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
        head = (
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n" % (status, _REASONS[status], len(body))
        )
        self.transport.write(head + body)
        # Closing on unread bytes resets the connection, and the client might never see why it was refused.
        self.loop.call_later(_POLITENESS, self.transport.close)
