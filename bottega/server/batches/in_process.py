"""Asking the server itself, on behalf of a caller: the whole way of a request but the socket and the key."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Scope

from bottega.server.guard.callers import Caller


async def post(app: ASGIApp, path: str, body: dict[str, Any], who: Caller) -> tuple[int, Headers, Any]:
    """POST a JSON body as `who`: the status, the headers and the JSON of the answer."""
    content = json.dumps(body).encode()
    headers = {"host": "localhost", "content-type": "application/json", "content-length": str(len(content))}
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
        "state": {"caller": who},
    }
    pending: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]
    status, raw, answer = 500, [], bytearray()

    async def receive() -> Message:
        if pending:
            return pending.pop()
        return await asyncio.get_running_loop().create_future()  # this client never leaves

    async def send(message: Message) -> None:
        nonlocal status, raw
        if message["type"] == "http.response.start":
            status, raw = message["status"], message["headers"]
        else:
            answer.extend(message.get("body", b""))

    await app(scope, receive, send)
    return status, Headers(raw=raw), json.loads(bytes(answer))
