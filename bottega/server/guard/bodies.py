"""What a body must be before any route reads it: of a known kind, plain, bounded in size and in time."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bottega.server.errors import ApiError, respond
from bottega.server.guard.json_bodies import check_json

_POLITENESS = 5.0  # seconds for which the rest of a refused body is read and dropped
_SLOWEST = 2**14  # bytes of a form a second, on the average
_LARGE = 2**16  # bytes above which a body is checked in a thread, because others' tokens would wait for it


class Bodies:
    """Reads and checks the bodies of JSON requests; forms pass piece by piece, for their routes bound them.

    Refused are other content types, which a page of another site can post without asking (415), compressed
    bodies, whose size nobody knows (415), those above `max_bytes` (413), slow ones (408), wrong JSON (400).
    `patience`: seconds for a JSON body as a whole, and for each piece of a form; as a whole a form has a
    second more for every `_SLOWEST` bytes.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, patience: float) -> None:
        self.app, self.max_bytes, self.patience = app, max_bytes, patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body, or answer 4xx."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        incoming = _Incoming(receive)
        try:
            receive = await self._checked(Headers(scope=scope), incoming)
        except ApiError as error:
            closing = {"Connection": "close"} if incoming.more else {}
            refusal = respond(
                error.message, error.status, error.param, error.code, {**error.headers, **closing}
            )
            # Whoever is too slow with a body would not send the rest of it any faster.
            await refusal(scope, receive, send if error.status == 408 else _then_drain(send, incoming))
            return
        await self.app(scope, receive, send)

    async def _checked(self, headers: Headers, receive: _Incoming) -> Receive:
        length = headers.get("content-length", "0")
        if length == "0" and "transfer-encoding" not in headers:
            receive.more = False
            return receive
        if headers.get("content-encoding", "identity").lower() != "identity":
            message = "Compressed bodies are not read; send the body without Content-Encoding."
            raise ApiError(message, None, "unsupported_media_type", 415)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            return self._in_time(receive)
        if kind != "application/json":
            message = f"Expected a body of type application/json, not {kind or 'none'!r}."
            raise ApiError(message, None, "unsupported_media_type", 415)
        if length.isdigit() and int(length) > self.max_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self.patience):
                body = await self._read(receive)
        except TimeoutError:
            raise self._too_slow() from None
        if len(body) > _LARGE:
            await asyncio.to_thread(check_json, body)
        elif body:
            check_json(body)
        return _again(body, receive)

    async def _read(self, receive: _Incoming) -> bytes:
        body = bytearray()
        while receive.more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ApiError(
                    "The client closed the connection.", status=499
                )  # for the log: nobody reads it
            body += message.get("body", b"")
            if len(body) > self.max_bytes:
                raise self._too_large()
        return bytes(body)

    def _in_time(self, receive: _Incoming) -> Receive:
        now = asyncio.get_running_loop().time
        until = now() + self.patience

        async def next_piece() -> Message:
            nonlocal until
            if not receive.more:  # from here on it waits for the client to leave, which takes its time
                return await receive()
            try:
                async with asyncio.timeout_at(min(until, now() + self.patience)):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow() from None
            until += len(message.get("body", b"")) / _SLOWEST
            return message

        return next_piece

    def _too_large(self) -> ApiError:
        message = f"The body is larger than {self.max_bytes} bytes, which is the most this server reads."
        return ApiError(message, None, "request_too_large", 413)

    def _too_slow(self) -> ApiError:
        message = f"The body, or the next piece of a form, did not arrive within {self.patience:g} seconds."
        return ApiError(message, None, "request_timeout", 408)


class _Incoming:
    """A `receive` that knows whether there is more of the body."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self.more = receive, True

    async def __call__(self) -> Message:
        message = await self._receive()
        self.more = message.get("more_body", False)
        return message


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once more and then what comes behind it."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _then_drain(send: Send, incoming: _Incoming) -> Send:
    """A `send` that drops the rest of the body before it ends the answer.

    Closing a connection on unread bytes resets it, and the client might never see why it was refused.
    """

    async def send_and_drain(message: Message) -> None:
        if message["type"] != "http.response.body" or not incoming.more:
            await send(message)
            return
        await send({**message, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POLITENESS):
                while incoming.more:
                    await incoming()
        await send({"type": "http.response.body", "body": b""})

    return send_and_drain
