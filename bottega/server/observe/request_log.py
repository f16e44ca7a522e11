"""Every request gets an id, is timed, counted and logged; unforeseen failures wear the envelope."""

from __future__ import annotations

import logging
import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bottega.server.errors import respond
from bottega.server.guard.callers import caller
from bottega.server.observe.metrics import Metrics

log = logging.getLogger(__name__)
OPENAI_VERSION = "2020-10-01"  # what OpenAI's own answers carry


@dataclass
class Account:
    """What one request has cost so far, for its line in the log."""

    request_id: str
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    user: str | None = None  # whom the client says that it asks for


# Engines are asked somewhere below the routes, which need not hand this on.
account: ContextVar[Account | None] = ContextVar("account", default=None)


def note_user(user: str | None) -> None:
    """Keep a body's `user`, up to 256 characters of it, with the request's line in the log."""
    mine = account.get()
    if mine is not None and user is not None:
        mine.user = user[:256].encode(errors="replace").decode()


def account_unread(metrics: Metrics, status: int, reason: str) -> None:
    """Count and log a request that was refused before its head could be read, so that it has no route."""
    metrics.requests.labels("unread", "unmatched", str(status)).inc()
    log.info("request", extra={"fields": {"status": status, "reason": reason}})


class RequestLog:
    """Adds X-Request-Id and OpenAI's two headers to every answer and logs it; never a prompt."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request and account for it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0
        mine = Account(_request_id(Headers(scope=scope).get("x-request-id", "")))
        account.set(mine)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = mine.request_id
                headers["OpenAI-Version"] = OPENAI_VERSION
                headers["OpenAI-Processing-Ms"] = f"{1000 * (time.perf_counter() - begun):.0f}"
            await send(message)

        failure: Exception | None = None
        try:
            await self.app(scope, receive, send_with_headers)
        except Exception as error:
            failure = error
            if status:  # too late for another answer: uvicorn closes the connection
                raise
            message = f"The server failed on this request ({type(error).__name__})."
            await respond(message, 500)(scope, receive, send_with_headers)
        finally:
            self._account(scope, mine, status, time.perf_counter() - begun, failure)

    def _account(
        self, scope: Scope, mine: Account, status: int, seconds: float, failure: Exception | None
    ) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        self.metrics.requests.labels(scope["method"], route, str(status)).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)
        fields: dict[str, object] = {
            "request_id": mine.request_id,
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "seconds": round(seconds, 4),
        }
        key = caller(HTTPConnection(scope)).id
        if key:
            fields["key"] = key
        if mine.user is not None:
            fields["user"] = mine.user
        if mine.model:
            fields["model"] = mine.model
            fields["prompt_tokens"] = mine.prompt_tokens
            fields["completion_tokens"] = mine.completion_tokens
        level = logging.ERROR if status >= 500 and failure else logging.INFO
        log.log(level, "request", exc_info=failure, extra={"fields": fields})


def _request_id(given: str) -> str:
    """The client's own id where it can stand in a header and a log, else a new one."""
    sane = 0 < len(given) <= 128 and given.isascii() and given.isprintable()
    return given if sane else f"req_{uuid.uuid4().hex}"
