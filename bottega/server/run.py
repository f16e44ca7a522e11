"""Running the server until Ctrl-C ends it or SIGTERM drains it."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import FrameType

import uvicorn

from bottega.engine.settings import DEFAULT as ENGINE
from bottega.engine.settings import EngineSettings
from bottega.errors import BottegaError, InputError, WorkError
from bottega.server.app import create_app
from bottega.server.guard.door import Door
from bottega.server.guard.protocol import BoundedProtocol
from bottega.server.observe.logs import configure
from bottega.server.served import Served, start_all
from bottega.server.settings import QUIET, ServerSettings
from bottega.server.store import Store, open_state
from bottega.server.store.keys import any_key


class Server(uvicorn.Server):
    """Uvicorn that says when the models are loaded.

    SIGTERM closes the door and gives those inside `grace` seconds; Ctrl-C, or a second SIGTERM, ends open
    streams at once.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        served: Mapping[str, Served],
        on_ready: Callable[[], None],
        door: Door | None = None,
        grace: float = 30.0,
    ) -> None:
        super().__init__(config)
        self.served, self.on_ready = served, on_ready
        self.door, self.grace = door or Door(), grace
        self._patience_ends = 0.0  # on the monotonic clock, once the door is closed
        self.failure: BottegaError | None = None  # why a model could not be loaded, which ends the server

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer while the models are being loaded, and say when they are."""
        await super().startup(sockets)
        if self.started:
            self._loading = asyncio.create_task(self._wait_ready())

    async def _wait_ready(self) -> None:
        try:
            for one in self.served.values():
                await one.engine.wait_ready()
        except BottegaError as error:
            if not self.should_exit:
                self.failure, self.should_exit = error, True
        else:
            self.on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first SIGTERM; else stop."""
        if sig == signal.SIGTERM and not self.door.closed:
            self.door.closed = True
            self._patience_ends = time.monotonic() + self.grace
            return
        self._stop_engines()
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Called every tenth of a second: whether the drained server may go."""
        if self.door.closed and (not self.door.inside or time.monotonic() > self._patience_ends):
            self._stop_engines()
            self.should_exit = True
        return await super().on_tick(counter)

    def _stop_engines(self) -> None:
        # Without their engines the open streams end, so that nothing is left to wait for.
        for one in self.served.values():
            one.engine.stop()


def serve(
    paths: Mapping[str, str],
    engine: EngineSettings = ENGINE,
    host: str = "127.0.0.1",
    port: int = 8000,
    settings: ServerSettings = QUIET,
    store: Store | None = None,
) -> None:
    """Serve models, name → path, until SIGTERM, or Ctrl-C, which raises KeyboardInterrupt.

    Port 0 takes any free one; without a `store` it is that of the settings. Raises InputError where the port
    is taken, the address is not this machine's, others could reach it without a key, or a path holds no
    model; WorkError where the system forbids it. However it ends, no engine's process is left.
    """
    with ExitStack() as ending:
        store = store or open_state(settings.state, settings.files)
        ending.callback(store.close)
        check_reach(host, store, settings)
        listener = ending.enter_context(listen(host, port))  # a taken port is told before models are loaded
        served = start_all(paths, engine)
        for one in served.values():
            ending.callback(one.engine.close)
        address = f"{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        keyed = settings.require_keys or any_key(store)
        embeds_only = next(iter(served.values())).engine.embeds_only
        configure(settings.log_level, settings.log_format)
        app = create_app(served, loopback_only=is_loopback(host), settings=settings, store=store)
        config = uvicorn.Config(app, http=BoundedProtocol, log_config=None, timeout_graceful_shutdown=3)
        server = Server(
            config,
            served,
            lambda: print(greeting(list(served), address, keyed, embeds_only), flush=True),
            app.state.door,
            settings.grace,
        )
        server.run([listener])
    if server.failure is not None:
        raise server.failure


def check_reach(host: str, store: Store, settings: ServerSettings) -> None:
    """Raise InputError where other machines could use the server and nobody decided that they may."""
    if is_loopback(host) or settings.require_keys or settings.without_keys or any_key(store):
        return
    raise InputError(
        f"whoever reaches {host} could use this server, for it has no keys; make one first: "
        "bottega keys create NAME (or let anyone in: --without-keys)"
    )


def greeting(names: list[str], address: str, keyed: bool = False, embeds_only: bool = False) -> str:
    """What a newcomer needs to know: where it is, whom it answers, and a first request of the first model."""
    route, text = ("embeddings", "input") if embeds_only else ("completions", "prompt")
    more = {} if embeds_only else {"max_tokens": 32}
    body = json.dumps({"model": names[0], text: "Once upon a time", **more}, ensure_ascii=False)
    body = body.replace("'", "'\\''")
    whom = "for whoever has a key" if keyed else "without keys (bottega keys create NAME makes one)"
    key = ' \\\n    -H "Authorization: Bearer $OPENAI_API_KEY"' if keyed else ""
    return (
        f"\nServing {', '.join(names)} at http://{address}/v1 (Ctrl-C stops) {whom}. Try:\n\n"
        f"  curl http://{address}/v1/{route} -H 'Content-Type: application/json'{key} \\\n"
        f"    -d '{body}'\n"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that a taken port is told before any work."""
    if not 0 <= port <= 65535:
        raise InputError(f"port {port}: expected a number from 0 to 65535")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise _explain(error, host, port) from None
    return listener


def _explain(error: OSError, host: str, port: int) -> Exception:
    if error.errno == errno.EADDRINUSE:
        free = listen(host, 0)
        with free:
            return InputError(
                f"port {port} on {host} is taken; pass a free one: --port {free.getsockname()[1]}"
            )
    if error.errno == errno.EACCES:
        return WorkError(
            f"port {port} needs the administrator's rights; pass one above 1023, such as --port 8000"
        )
    return InputError(
        f"cannot listen on {host}: {error.strerror}; pass an address of this machine with --host"
    )
