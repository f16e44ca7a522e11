"""A real server on a free loopback port: a small random GPT, a trained tokenizer, the stock client."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
import uvicorn

from bottega.models.gpt import GPT, GPTConfig
from bottega.server.app import create_app
from bottega.server.guard.protocol import BoundedProtocol
from bottega.server.run import Server, listen
from bottega.server.served import Served
from bottega.server.settings import ServerSettings
from bottega.server.store import Store
from bottega.text.tokenizer import Tokenizer

TEXT = [
    "The apprentice ground the colours while the master drew the hand of the angel.",
    "In the workshop every morning began with the sweeping of the floor and the boiling of the glue.",
    "Café, naïve, Übermut: ¿qué tal? 你好，世界 — 🎨🖌️",
]


@dataclass(frozen=True)
class Running:
    """A server that runs in a thread of this process."""

    url: str
    served: Served
    model: GPT
    server: Server

    @property
    def load(self) -> tuple[int, int]:
        return self.served.engine.load

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url + "/v1", api_key="unused", max_retries=0, timeout=20)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXT * 20, 400)


@pytest.fixture(scope="session")
def gpt(tokenizer: Tokenizer) -> GPT:
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, context_length=1024, n_layer=2, n_head=2, n_embd=16))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return model.eval()


@pytest.fixture(scope="session")
def folder(gpt: GPT, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as a checkpoint folder."""
    folder = tmp_path_factory.mktemp("models") / "bardi"
    gpt.save_pretrained(folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="session")
def running(folder: Path, gpt: GPT) -> Iterator[Running]:
    listener = listen("127.0.0.1", 0)
    served = Served.start(folder)
    ready = threading.Event()
    models = {"bardi": served, "owner/tiny": served}
    server = Server(
        uvicorn.Config(create_app(models), http=BoundedProtocol, log_level="warning"), models, ready.set
    )
    # Without `server.run`, which would catch this process's signals.
    thread = threading.Thread(target=lambda: asyncio.run(server._serve([listener])), daemon=True)
    thread.start()
    assert ready.wait(240)  # where other programs leave it little of the machine
    yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", served, gpt, server)
    served.engine.stop()
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()
    served.engine.close()


@pytest.fixture(scope="session")
def client(running: Running) -> openai.OpenAI:
    return running.client()


@pytest.fixture
def start_process(folder: Path, tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Start `bottega serve` over the state in `tmp_path / "state"`: the process and its URL."""
    started: list[subprocess.Popen[str]] = []

    def start(model: Path = folder) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "bottega", "serve", f"bardi={model}", "--port", "0"]
        command += ["--state", str(tmp_path / "state")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        started.append(process)
        assert process.stdout
        for line in process.stdout:
            if found := re.search(r"(http://127\.0\.0\.1:\d+)/v1", line):
                return process, found[1]
        pytest.fail("the server ended before it was ready")

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture
def start_server(running: Running) -> Iterator[Callable[..., str]]:
    """Start further servers over the same engine: `start_server(store=..., SETTING=...)` gives a URL."""
    started: list[tuple[Server, threading.Thread]] = []
    on_submit = running.served.engine.on_submit

    def start(store: Store | None = None, models: tuple[str, ...] = ("bardi",), **settings: Any) -> str:
        served = dict.fromkeys(models, running.served)
        listener, ready = listen("127.0.0.1", 0), threading.Event()
        app = create_app(served, settings=ServerSettings(**settings), store=store)
        config = uvicorn.Config(app, http=BoundedProtocol, log_level="warning")
        server = Server(config, {}, ready.set)  # which stops no engine, for others use it
        thread = threading.Thread(target=lambda: asyncio.run(server._serve([listener])), daemon=True)
        thread.start()
        started.append((server, thread))
        assert ready.wait(20)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, thread in started:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()
    running.served.engine.on_submit = on_submit


@pytest.fixture
def http(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=20) as plain:
        yield plain
