"""Tokens arrive as they are drawn; a client that goes away frees its place; Ctrl-C waits for nobody."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from bottega.engine.engine import Engine
from bottega.errors import InputError, WorkError
from bottega.models.gpt import GPT
from bottega.server import run
from bottega.server.run import greeting, is_loopback, listen
from bottega.server.settings import ServerSettings
from bottega.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from conftest import Running


BOTTEGA = [sys.executable, "-c", "from bottega.cli import main; main()"]


def long_request(tokenizer: Tokenizer) -> dict[str, Any]:
    bias = {str(tokenizer.end_of_text): -100}
    return {"model": "bardi", "prompt": "x", "max_tokens": 1000, "logit_bias": bias}


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.005)


def test_tokens_arrive_while_others_are_still_to_be_drawn(running: Running, tokenizer: Tokenizer) -> None:
    until(lambda: running.load == (0, 0))
    stream = running.client().completions.create(**long_request(tokenizer), stream=True)
    next(iter(stream))
    assert running.load[0] == 1  # 999 tokens are still to come
    assert len(list(stream)) > 100
    until(lambda: running.load == (0, 0))


def test_the_wire_is_server_sent_events(http: httpx.Client) -> None:
    body = {"model": "bardi", "prompt": "x", "max_tokens": 3, "seed": 1, "stream": True}
    answer = http.post("/v1/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(event.startswith('data: {"id":"cmpl-') for event in events[:-2])


def test_a_client_that_leaves_a_stream_frees_its_place(running: Running, tokenizer: Tokenizer) -> None:
    until(lambda: running.load == (0, 0))
    before = running.served.engine.statistics.generated_tokens
    stream = running.client().completions.create(**long_request(tokenizer), n=8, stream=True)
    next(iter(stream))
    stream.close()
    until(lambda: running.load == (0, 0))
    assert running.served.engine.statistics.generated_tokens - before < 8 * 1000


def test_a_client_that_leaves_before_the_answer_frees_its_place(
    running: Running, tokenizer: Tokenizer
) -> None:
    until(lambda: running.load == (0, 0))
    before = running.served.engine.statistics.generated_tokens
    body = json.dumps(long_request(tokenizer) | {"n": 16})
    host, port = running.url.removeprefix("http://").split(":")
    lines = [
        "POST /v1/completions HTTP/1.1",
        f"host: {host}",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", body]).encode())
        until(lambda: running.load != (0, 0))
    until(lambda: running.load == (0, 0))
    assert running.served.engine.statistics.generated_tokens - before < 16 * 1000


def test_many_clients_get_what_each_would_get_alone(running: Running) -> None:
    async def ask(client: openai.AsyncOpenAI, seed: int) -> str:
        answer = await client.completions.create(
            model="bardi", prompt="In " * (1 + seed % 5), seed=seed, max_tokens=10 + seed
        )
        return answer.choices[0].text

    async def all_at_once() -> list[str]:
        async with openai.AsyncOpenAI(base_url=running.url + "/v1", api_key="unused") as client:
            return await asyncio.gather(*(ask(client, seed) for seed in range(24)))

    async def one_by_one() -> list[str]:
        async with openai.AsyncOpenAI(base_url=running.url + "/v1", api_key="unused") as client:
            return [await ask(client, seed) for seed in range(24)]

    assert asyncio.run(all_at_once()) == asyncio.run(one_by_one())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, gpt: GPT, tokenizer: Tokenizer) -> Path:
    folder = tmp_path_factory.mktemp("models") / "bardi"
    gpt.save_pretrained(folder)
    tokenizer.save(folder)
    return folder


def test_serve_says_where_and_ctrl_c_ends_it_at_once(checkpoint: Path, tokenizer: Tokenizer) -> None:
    process = subprocess.Popen(
        [*BOTTEGA, "serve", str(checkpoint), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        said = "".join(lines)
        url = said.split("Serving bardi at ")[1].split()[0]
        assert f"curl {url}/completions" in said
        client = openai.OpenAI(base_url=url, api_key="unused", max_retries=0)
        stream = iter(client.completions.create(**long_request(tokenizer) | {"n": 8}, stream=True))
        next(stream)
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        with pytest.raises(openai.APIError, match="stopping"):
            for _ in stream:
                pass
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - begun < 30
        assert process.returncode == 130
        assert "Traceback" not in errors
    finally:
        process.kill()
        process.communicate()


def test_a_taken_port_is_told_with_a_free_one(checkpoint: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            InputError, match=rf"port {port} on 127.0.0.1 is taken; pass a free one: --port \d+"
        ):
            listen("127.0.0.1", port)
        command = [*BOTTEGA, "serve", str(checkpoint), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith(f"bottega serve: port {port} on 127.0.0.1 is taken")
        assert done.stderr.count("\n") == 1


def test_models_that_were_started_end_with_what_goes_wrong(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise WorkError("the easel fell over")

    started: list[Engine] = []
    monkeypatch.setattr(Engine, "start", keeping(Engine.start, started))
    monkeypatch.setattr(run, "any_key", fail)  # the first that may fail after they were started
    settings = ServerSettings(state=str(tmp_path / "state"))
    with pytest.raises(WorkError, match="easel"):
        run.serve({"bardi": str(checkpoint)}, port=0, settings=settings)
    (engine,) = started
    assert engine.pid is None
    with pytest.raises(WorkError, match="stopping"):
        asyncio.run(engine.wait_ready())


def keeping(start: Callable[..., Engine], started: list[Engine]) -> Callable[..., Engine]:
    """`start`, which also notes what it started."""

    def noting(*args: Any) -> Engine:
        started.append(start(*args))
        return started[-1]

    return noting


def test_addresses() -> None:
    with pytest.raises(InputError, match="from 0 to 65535"):
        listen("127.0.0.1", 70000)
    with pytest.raises(InputError, match="cannot listen on 203"):
        listen("203.0.113.7", 0)
    assert all(map(is_loopback, ("127.0.0.1", "127.3.2.1", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "x.example", "10.0.0.7")))
    assert "'\\''" in greeting(["l'atelier"], "127.0.0.1:1")
