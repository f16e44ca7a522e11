"""Clients that send or take bytes slowly, or are too many, are cut off in the time that is documented."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn

from bottega.server.app import create_app
from bottega.server.guard import protocol
from bottega.server.guard.protocol import BoundedProtocol
from bottega.server.run import Server, listen
from bottega.server.settings import ServerSettings
from bottega.server.store import Store
from bottega.server.store.contents import describe, seed_file

Address = tuple[str, int]
LONGEST = 60.0  # seconds for what takes one or two where the machine is free

UPLOAD = "POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=x\r\n"
COMPLETION = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Address]]:
    """Start a server without a model that is impatient; it takes settings, and the address is returned."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(protocol, "UNREAD_SECONDS", 1.0)
    started: list[tuple[Server, threading.Thread]] = []

    def run(store: Store | None = None, max_connections: int = 1000, keys: bool = False) -> Address:
        settings = ServerSettings(body_timeout=1.0, max_connections=max_connections, require_keys=keys)
        listener, ready = listen("127.0.0.1", 0), threading.Event()
        app = create_app({}, settings=settings, store=store)
        config = uvicorn.Config(app, http=BoundedProtocol, log_level="warning", timeout_graceful_shutdown=1)
        server = Server(config, {}, ready.set)
        thread = threading.Thread(target=lambda: asyncio.run(server._serve([listener])), daemon=True)
        thread.start()
        started.append((server, thread))
        assert ready.wait(LONGEST)
        address: Address = listener.getsockname()
        return address

    yield run
    for server, thread in started:
        server.should_exit = True
        thread.join(LONGEST)
        assert not thread.is_alive()


def trickle(address: Address, at_once: str, byte: bytes = b"a") -> bytes:
    """What the server says, until it hangs up, to who sends a beginning and then a byte every 50 ms."""
    said = b""
    with socket.create_connection(address) as connection:
        connection.sendall(at_once.encode())
        connection.settimeout(0.05)
        until = time.monotonic() + LONGEST
        while time.monotonic() < until:
            try:
                piece = connection.recv(65536)
                if not piece:
                    return said
                said += piece
            except TimeoutError:
                pass
            except ConnectionResetError:
                return said
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(byte)
    pytest.fail(f"the server still listens, having said {said!r}")


def test_headers_byte_by_byte(start: Callable[..., Address]) -> None:
    assert trickle(start(), "GET /health HTTP/1.1\r\nhost: localhost\r\nx-long: ").startswith(b"HTTP/1.1 408")


def test_nothing_but_line_ends(start: Callable[..., Address]) -> None:
    assert trickle(start(), "", b"\n").startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("path", [UPLOAD, COMPLETION])
def test_a_body_byte_by_byte(start: Callable[..., Address], path: str) -> None:
    """An upload's pieces come in time here, but together they are slower than 16 KiB a second."""
    beginning = "--x\r\nContent-Disposition: form-data; name=purpose\r\n\r\n" if path == UPLOAD else "{"
    said = trickle(start(), f"{path}content-length: 100000\r\n\r\n{beginning}")
    assert said.startswith(b"HTTP/1.1 408")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"


def test_the_rest_of_a_body_that_was_refused_unread(start: Callable[..., Address]) -> None:
    said = trickle(start(keys=True), f"{COMPLETION}content-length: 100000\r\n\r\n{{")
    assert said.startswith(b"HTTP/1.1 401")


def test_line_ends_after_an_answer(start: Callable[..., Address]) -> None:
    said = trickle(start(), "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n", b"\n")
    assert said.startswith(b"HTTP/1.1 200")


def test_an_upload_that_keeps_up_is_not_cut_off(start: Callable[..., Address]) -> None:
    """It takes twice as long as one piece may, and brings 64 KiB a second."""
    head = "--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n"
    with socket.create_connection(start(), timeout=LONGEST) as connection:
        connection.sendall(f"{UPLOAD}content-length: 1000000\r\n\r\n{head}".encode())
        for _ in range(10):
            connection.sendall(b"a" * 2**14)
            time.sleep(0.2)
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):  # no answer yet: it still reads
            connection.recv(1)


def big(store: Store) -> str:
    """A request for a file that is larger than what a system keeps for a reader."""
    body = describe("cartoon.bin", "user_data", 2**25)
    seed_file(store, bytes(2**25), body)
    return f"GET /v1/files/{body['id']}/content HTTP/1.1\r\nhost: localhost\r\n\r\n"


def test_an_answer_that_nobody_takes_is_given_up(start: Callable[..., Address]) -> None:
    store = Store.temporary()
    with socket.create_connection(start(store), timeout=LONGEST) as connection:
        connection.sendall(big(store).encode())
        time.sleep(4)
        taken = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(2**20):
                taken += len(piece)
    assert taken < 2**25
    store.close()


def test_an_answer_that_is_taken_slowly_arrives(start: Callable[..., Address]) -> None:
    store = Store.temporary()
    with socket.create_connection(start(store), timeout=LONGEST) as connection:
        connection.sendall(big(store).encode())
        taken = len(connection.recv(2**20))
        while taken < 2**25:  # headers come on top; what counts is that none is missing
            piece = connection.recv(2**22)
            assert piece
            taken += len(piece)
            time.sleep(0.1)
    store.close()


def test_one_connection_too_many(start: Callable[..., Address]) -> None:
    address = start(max_connections=2)
    ask = "GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"

    def first_line(connection: socket.socket, request: str) -> bytes:
        connection.sendall(request.encode())
        return connection.recv(65536)

    with contextlib.ExitStack() as held:
        first, second, third, fourth = (
            held.enter_context(socket.create_connection(address, timeout=LONGEST)) for _ in range(4)
        )
        said = first_line(third, ask)
        assert said.startswith(b"HTTP/1.1 503") and b"retry-after: 5\r\n" in said
        assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["type"] == "server_error"
        assert first_line(fourth, ask.replace("/v1/models", "/health")).startswith(b"HTTP/1.1 200")
        for connection in (first, second, third, fourth):
            connection.close()
    until = time.monotonic() + LONGEST
    while True:
        with socket.create_connection(address, timeout=LONGEST) as connection:
            if first_line(connection, ask).startswith(b"HTTP/1.1 200"):
                break
        assert time.monotonic() < until
