"""Who may ask: once a key exists, every request needs one; what each key uses is counted and bounded."""

from __future__ import annotations

import asyncio
import logging
import math

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bottega.server.errors import respond
from bottega.server.guard.callers import Caller
from bottega.server.guard.limits import Limits
from bottega.server.observe.request_log import account
from bottega.server.store.keys import Known, Used, add_usage, any_key, find_key
from bottega.server.store.store import Store

log = logging.getLogger(__name__)

# What tells nothing: whether the server lives, and the static pages of the playground.
_OPEN = frozenset({"/", "/health", "/ready", "/playground"})
_FLUSH_SECONDS = 1.0  # usage is written this often, not with every request


class KeyGuard:
    """Answers 401 without a valid key and 429 beyond its limits; tells the routes who the caller is.

    A request from within, such as a batch's line, already has its caller: it is counted, never limited.
    """

    def __init__(self, app: ASGIApp, store: Store, required: bool = False) -> None:
        self.app, self.store, self.ledger, self.limits = app, store, Ledger(store), Limits()
        self._keyed = required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its caller, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            await self.ledger.flush()
            return
        state = scope.setdefault("state", {})
        if isinstance(state.get("caller"), Caller):
            await self._counted(Known(state["caller"].id), scope, receive, send)
            return
        if scope["type"] != "http" or _is_open(scope["path"]):
            state["keyed"] = self._keyed
            await self.app(scope, receive, send)
            return
        if not self._keyed:  # keys are never deleted: once there is one, nobody need look again
            self._keyed = await asyncio.to_thread(any_key, self.store)
        state["keyed"] = self._keyed
        if not self._keyed:
            await self.app(scope, receive, send)
            return
        token = _bearer(Headers(scope=scope).get("authorization", ""))
        key = await asyncio.to_thread(find_key, self.store, token) if token else None
        if key is None:
            await _unknown(bool(token))(scope, receive, send)
            return
        state["caller"] = Caller.of(key.id)
        await self._limited(key, scope, receive, send)

    async def _limited(self, key: Known, scope: Scope, receive: Receive, send: Send) -> None:
        wait, headers = self.limits.admit(key)
        if wait:
            seconds = math.ceil(wait)
            message = f"Rate limit reached for this key; try again in {seconds} s."
            retry = headers | {"Retry-After": str(seconds)}
            await respond(message, 429, None, "rate_limit_exceeded", retry)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await self._counted(key, scope, receive, send_with_headers)

    async def _counted(self, key: Known, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            mine = account.get()
            used = Used(1, mine.prompt_tokens, mine.completion_tokens) if mine else Used(1)
            self.limits.charge(key, used)
            if key.id:
                self.ledger.add(key.id, used)


class Ledger:
    """Gathers what keys use and writes it down every second; a kill loses no more than that."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: dict[str, Used] = {}
        self._writing: asyncio.Task[None] | None = None

    def add(self, key: str, used: Used) -> None:
        """Remember it for the next writing."""
        self._pending[key] = self._pending.get(key, Used()) + used
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._flush_later())

    async def flush(self) -> None:
        """Write it down now."""
        pending, self._pending = self._pending, {}
        if not pending:
            return
        try:
            await asyncio.to_thread(add_usage, self._store, pending)
        except Exception:  # the database may be back at the next writing
            log.exception("what keys use could not be written down")
            for key, used in pending.items():
                self._pending[key] = self._pending.get(key, Used()) + used

    async def _flush_later(self) -> None:
        while self._pending:
            await asyncio.sleep(_FLUSH_SECONDS)
            await self.flush()


def _is_open(path: str) -> bool:
    return path in _OPEN or path.startswith("/playground/")


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _unknown(given: bool) -> ASGIApp:
    message = (
        "Incorrect API key provided: it is unknown or revoked."
        if given
        else "You didn't provide an API key. Send one as the header 'Authorization: Bearer KEY'."
    )
    return respond(message, 401, None, "invalid_api_key", {"WWW-Authenticate": 'Bearer realm="Bottega"'})
