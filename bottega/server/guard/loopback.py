"""What guards a server that has no keys: it listens on loopback, and answers only to its loopback names."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from bottega.server.errors import envelope

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class LoopbackOnly:
    """Refuses requests by a foreign name, which is how a web page reaches a private server (DNS rebinding).

    A page of another site that posts directly is told by its Origin.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] != "http" or scope.get("state", {}).get("keyed"):  # a web page has no key
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if _name("//" + host) not in LOOPBACK:
            said = f"This server answers only as localhost, 127.0.0.1 or [::1], not as {host!r}."
        elif origin is not None and _name(origin) not in LOOPBACK:
            said = f"Pages of {origin!r} may not use this server."
        else:
            await self.app(scope, receive, send)
            return
        body = json.dumps(envelope(said, 403, None, "forbidden")).encode()
        fields = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 403, "headers": fields})
        await send({"type": "http.response.body", "body": body})


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
