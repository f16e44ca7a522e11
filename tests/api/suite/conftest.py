"""A server on which all that the suite's tests name is there: models, files, a batch, a stored completion."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from bottega.server.app import create_app
from bottega.server.guard.protocol import BoundedProtocol
from bottega.server.run import Server, listen
from bottega.server.served import Served
from bottega.server.store import Store
from bottega.server.store.contents import seed_file

FINE_TUNED = "ft:gpt-4o-mini:acemeco:suffix:abc123"
CHAT = "chat.completion"
MODELS = ("gpt-3.5-turbo-instruct", "gpt-6-astra", "text-embedding-3-small", FINE_TUNED)


class Evergreen:
    """Brings back, before every request, what the tests name and a request before may have deleted."""

    def __init__(self, app: ASGIApp, state: Any) -> None:
        self.app, self.state, self.models = app, state, dict(state.models)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.state.models.update(self.models)
            seed(self.state.store)
        await self.app(scope, receive, send)


def seed(store: Store) -> None:
    """Put the objects of the tests into a store where they are missing."""
    for id, purpose in (("file_id", "assistants"), ("input_file_id", "batch")):
        if store.get("file", id) is None:
            content = b'{"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": {}}\n'
            file = {"id": id, "object": "file", "bytes": len(content), "created_at": 1}
            file |= {"filename": "a.jsonl", "purpose": purpose, "status": "processed"}
            seed_file(store, content, file)
    batch = {
        "id": "batch_id",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "input_file_id",
        "completion_window": "24h",
        "status": "in_progress",
        "model": "of another server",  # nobody here works on it
        "created_at": 1,
        "expires_at": None,
    }
    if not store.update("batch", "batch_id", batch):
        store.put("batch", "batch_id", batch)
    if store.get(CHAT, "completion_id") is None:
        kept, _ = store.list(CHAT, limit=1, order="asc")
        if kept:
            store.put(CHAT, "completion_id", {**kept[0], "id": "completion_id"})


def keep_a_completion(url: str) -> None:
    """The first stored completion, from which the one of the tests is copied."""
    # The client's type of a stored message knows no role but the assistant's.
    messages = [{"role": "assistant", "content": "Good day."}]
    body = {"model": "gpt-6-astra", "messages": messages, "store": True, "max_tokens": 2}
    httpx.post(url + "/v1/chat/completions", json=body, timeout=60).raise_for_status()


@pytest.fixture(scope="session")
def evergreen(folder: Path) -> Iterator[str]:
    """The address of a server on which what the suite's tests name is always there."""
    listener, ready = listen("127.0.0.1", 0), threading.Event()
    served = Served.start(folder)
    models = dict.fromkeys(MODELS, served)
    app = create_app(models)
    app.add_middleware(Evergreen, state=app.state)
    server = Server(uvicorn.Config(app, http=BoundedProtocol, log_level="warning"), models, ready.set)
    thread = threading.Thread(target=lambda: asyncio.run(server._serve([listener])), daemon=True)
    thread.start()
    try:
        assert ready.wait(60)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        keep_a_completion(url)
        yield url
    finally:
        served.engine.stop()
        server.should_exit = True
        thread.join(10)
        served.engine.close()
