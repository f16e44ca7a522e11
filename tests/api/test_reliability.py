"""What a server must survive: clients that leave, more of them than it can hold, an engine that is killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

ENDLESS = {"model": "bardi", "prompt": "The master", "max_tokens": 1000, "ignore_eos": True}


@contextmanager
def serving(folder: Path, state: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A real `bottega serve`: its process and its URL."""
    command = [sys.executable, "-m", "bottega", "serve", str(folder), "--port", "0", "--state", str(state)]
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, next(f[0] for line in process.stdout if (f := re.search(r"http://[\d.:]+", line)))
        finally:
            process.kill()


def engine_of(server: subprocess.Popen[str]) -> psutil.Process:
    children = psutil.Process(server.pid).children()
    return max(children, key=lambda child: child.memory_info().rss)  # the other one is Python's own helper


def metric(url: str, name: str) -> float:
    text = httpx.get(url + "/metrics").text
    return float(re.findall(rf"^bottega_engine_{name}\{{[^}}]*\}} (\S+)", text, re.M)[0])


def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_cache_within_a_second(
    folder: Path, tmp_path: Path, stream: bool
) -> None:
    with serving(folder, tmp_path) as (_, url):
        body = httpx.Request("POST", url + "/v1/completions", json=ENDLESS | {"stream": stream, "n": 8})
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body.content)}\r\n"
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall((head + "Content-Type: application/json\r\n\r\n").encode() + body.content)
            until(lambda: metric(url, "kv_blocks_used") > 0, 20)
        until(lambda: metric(url, "kv_blocks_used") == metric(url, "running") == 0, 1)


def test_more_requests_than_it_can_hold(folder: Path, tmp_path: Path) -> None:
    body = {"model": "bardi", "prompt": "The glue", "max_tokens": 8, "ignore_eos": True}

    async def crowd(url: str) -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=120) as client:
            return await asyncio.gather(*(client.post("/v1/completions", json=body) for _ in range(500)))

    with serving(folder, tmp_path, "--slots", "8", "--queue", "64") as (server, url):
        memory = [psutil.Process(server.pid), engine_of(server)]
        asyncio.run(crowd(url))
        before = sum(process.memory_info().rss for process in memory)
        answers = asyncio.run(crowd(url))
        after = sum(process.memory_info().rss for process in memory)
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses.keys() == {200, 429}, statuses
    assert statuses[200] >= 72
    for answer in answers:
        if answer.status_code == 200:
            assert answer.json()["usage"]["completion_tokens"] == 8
        else:
            assert answer.json()["error"]["code"] == "rate_limit_exceeded"
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert after < before * 1.05


def test_sigterm_lets_the_running_ones_finish(folder: Path, tmp_path: Path) -> None:
    async def drained(server: subprocess.Popen[str], url: str) -> list[str]:
        async with (
            httpx.AsyncClient(base_url=url, timeout=60) as client,
            client.stream("POST", "/v1/completions", json=ENDLESS | {"stream": True}) as answer,
        ):
            lines = answer.aiter_lines()
            events = [await anext(lines)]
            server.send_signal(signal.SIGTERM)
            events += [line async for line in lines]
        return [event for event in events if event]

    with serving(folder, tmp_path) as (server, url):
        events = asyncio.run(drained(server, url))
        assert server.wait(20) == 0
    assert events[-1] == "data: [DONE]"
    assert '"finish_reason":"length"' in events[-2]


def test_a_killed_engine_gives_503_and_is_started_again(folder: Path, tmp_path: Path) -> None:
    def ask(url: str, **fields: Any) -> httpx.Response:
        return httpx.post(url + "/v1/completions", json=ENDLESS | fields, timeout=60)

    async def killed(server: subprocess.Popen[str], url: str) -> tuple[httpx.Response, str]:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            whole = asyncio.create_task(client.post("/v1/completions", json=ENDLESS | {"n": 20}))
            async with client.stream("POST", "/v1/completions", json=ENDLESS | {"stream": True}) as answer:
                lines = answer.aiter_lines()
                await anext(lines)
                os.kill(engine_of(server).pid, signal.SIGKILL)
                streamed = [line async for line in lines if line]
            return await whole, streamed[-1]

    with serving(folder, tmp_path) as (server, url):
        whole, last_event = asyncio.run(killed(server, url))
        assert whole.status_code == 503
        assert "engine_failed" in whole.text
        assert "died (signal SIGKILL)" in last_event
        assert httpx.get(url + "/health").status_code == 200
        assert ask(url, max_tokens=4).status_code == httpx.get(url + "/ready").status_code == 503
        until(lambda: httpx.get(url + "/ready").status_code == 200, 60)
        assert ask(url, max_tokens=4).json()["usage"]["completion_tokens"] == 4
        assert 'bottega_engine_restarts_total{model="bardi"} 1.0' in httpx.get(url + "/metrics").text
