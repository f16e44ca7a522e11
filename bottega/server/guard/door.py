"""The door of the server: it counts who is inside, and once it is closed nobody comes in."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from bottega.server.errors import respond

# What a supervisor asks, which it wants to know until the end.
ALWAYS_OPEN = frozenset({"/health", "/ready", "/metrics"})


class Door:
    """Open until it is closed; `inside` is the number of requests that are being answered."""

    def __init__(self) -> None:
        self.closed, self.inside = False, 0


class Doorkeeper:
    """Counts requests in and out, and answers 503 once the door is closed."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self.app, self.door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request in, or send it away."""
        if scope["type"] != "http" or scope["path"] in ALWAYS_OPEN:
            await self.app(scope, receive, send)
            return
        if self.door.closed:
            refusal = respond(
                "The server is shutting down; ask again in a moment.",
                503,
                None,
                "service_unavailable",
                {"Retry-After": "5", "Connection": "close"},
            )
            await refusal(scope, receive, send)
            return
        self.door.inside += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.door.inside -= 1
