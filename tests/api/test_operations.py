"""What supervisors see: health, readiness, metrics, request ids, logs, draining."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from bottega.server.app import create_app
from bottega.server.observe.logs import JsonLines, TextLines
from bottega.server.settings import ServerSettings
from bottega.text.tokenizer import Tokenizer

SECRET = "the colours of the master"


def metric(http: httpx.Client, name: str, **labels: str) -> float:
    """A number from /metrics; 0 where it was never counted."""
    for line in http.get("/metrics").text.splitlines():
        sample = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
        if sample and all(f'{label}="{value}"' in (sample[1] or "") for label, value in labels.items()):
            return float(sample[2])
    return 0.0


def test_health_and_readiness(http: httpx.Client) -> None:
    assert http.get("/health").json() == {"status": "ok"}
    answer = http.get("/ready")
    assert answer.status_code == 200
    assert answer.json() == {"ready": True, "draining": False, "models": {"bardi": True, "owner/tiny": True}}


def test_metrics_count_what_happened(http: httpx.Client) -> None:
    counted = [
        ("bottega_http_requests_total", {"route": "/v1/completions", "status": "200"}, 1.0),
        ("bottega_http_requests_total", {"route": "/v1/completions", "status": "404"}, 1.0),
        ("bottega_time_to_first_token_seconds_count", {"model": "bardi"}, 2.0),
        ("bottega_inter_token_seconds_count", {"model": "bardi"}, 8.0),
    ]
    before = [metric(http, name, **labels) for name, labels, _ in counted]
    body = {"model": "bardi", "prompt": "x", "max_tokens": 5, "n": 2, "ignore_eos": True}
    assert http.post("/v1/completions", json=body).status_code == 200
    assert http.post("/v1/completions", json={"model": "nobody", "prompt": "x"}).status_code == 404
    after = [metric(http, name, **labels) for name, labels, _ in counted]
    assert [b - a for a, b in zip(before, after, strict=True)] == [expected for *_, expected in counted]
    assert metric(http, "bottega_engine_generated_tokens_total", model="bardi") >= 10
    assert metric(http, "bottega_engine_kv_blocks_total", model="bardi") > 0
    assert metric(http, "bottega_engine_running", model="bardi") == 0
    assert metric(http, "bottega_engine_ready", model="bardi") == 1
    assert "bottega_engine_restarts_total{" in http.get("/metrics").text


def test_two_applications_share_no_metrics() -> None:
    first, second = create_app({}).state.metrics, create_app({}).state.metrics
    first.requests.labels("GET", "/health", "200").inc()
    assert b'status="200"' in first.render() and b'status="200"' not in second.render()


def test_request_ids(http: httpx.Client) -> None:
    made = {http.get("/health").headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2 and all(id.startswith("req_") for id in made)
    for _ in range(2):  # the same id twice is fine
        assert http.get("/health", headers={"x-request-id": "guild-7"}).headers["x-request-id"] == "guild-7"
    for odd in ("a" * 129, "caf\xe9".encode(), "a\tb"):
        answer = http.get("/health", headers={"x-request-id": odd})
        assert answer.headers["x-request-id"].startswith("req_")
    for path in ("/v1/nothing", "/v1/models/nobody"):  # refusals carry them too
        assert http.get(path, headers={"x-request-id": "guild-8"}).headers["x-request-id"] == "guild-8"


def test_openais_headers(client: openai.OpenAI) -> None:
    answer = client.completions.with_raw_response.create(model="bardi", prompt="x", max_tokens=1)
    assert answer.headers["openai-version"] == "2020-10-01"
    assert 0 <= int(answer.headers["openai-processing-ms"]) < 20_000
    assert answer.headers["x-request-id"] == answer.request_id


def test_a_request_is_one_line_of_the_log_without_its_prompt(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="bottega.server"):
        body = {"model": "bardi", "prompt": [1, 2, 3], "max_tokens": 2, "ignore_eos": True, "user": "u-7"}
        http.post("/v1/completions", json=body, headers={"x-request-id": "guild-9"})
        http.post("/v1/completions", json={"model": "bardi", "prompt": SECRET, "temperature": "hot"})
        deadline = time.monotonic() + 30
        while len(lines := [JsonLines().format(one) for one in caplog.records]) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    told = json.loads(lines[0])
    assert told.pop("seconds") > 0 and told.pop("time").endswith("+00:00")
    assert told == {
        "level": "info",
        "logger": "bottega.server.observe.request_log",
        "message": "request",
        "request_id": "guild-9",
        "method": "POST",
        "path": "/v1/completions",
        "status": 200,
        "model": "bardi",
        "user": "u-7",
        "prompt_tokens": 3,
        "completion_tokens": 2,
    }
    assert json.loads(lines[1])["status"] == 400
    assert SECRET not in "".join(lines)
    assert 'path="/v1/completions" status=200 seconds=' in TextLines().format(caplog.records[0])


def test_what_is_refused_unread_is_counted_and_logged(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    labels = {"method": "unread", "status": "431"}
    before = metric(http, "bottega_http_requests_total", **labels)
    with caplog.at_level(logging.INFO, logger="bottega.server"):
        assert http.get("/health", headers={"x-long": SECRET * 10_000}).status_code == 431
    assert metric(http, "bottega_http_requests_total", **labels) == before + 1
    lines = [JsonLines().format(record) for record in caplog.records]
    assert any('"status": 431' in line and "larger than" in line for line in lines)
    assert SECRET not in "".join(lines)


def test_an_unforeseen_failure_is_told_in_the_envelope() -> None:
    app = create_app({}, loopback_only=False)

    @app.get("/break")
    async def broken() -> None:
        raise RuntimeError("the easel fell")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://studio.example") as client:
            return await client.get("/break")

    answer = asyncio.run(ask())
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error" and "RuntimeError" in answer.text
    assert "easel" not in answer.text  # what failed inside is for the log
    assert "x-request-id" in answer.headers


@pytest.mark.parametrize("wrong", [{"grace": -1.0}, {"max_body_bytes": 0}, {"body_timeout": 0.0}])
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=next(iter(wrong))):
        ServerSettings(**wrong)


# Draining: a server of its own, because it ends


@pytest.fixture
def serving(
    folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`bottega serve` as a process of its own, with the parameter's options, and where it is."""
    command = [
        sys.executable,
        "-c",
        "from bottega.cli import main; main()",
        "serve",
        str(folder),
        "--port",
        "0",
    ]
    process = subprocess.Popen(
        [*command, "--state", str(tmp_path / "state"), *getattr(request, "param", ())],
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "log").open("w"),
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if " at http://" in line:
                yield process, line.split(" at ")[1].split("/v1")[0]
                break
    finally:
        process.kill()
        process.communicate()


def test_sigterm_drains(
    serving: tuple[subprocess.Popen[str], str], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    process, url = serving
    with httpx.Client(base_url=url, timeout=60) as http:
        body = {
            "model": "bardi",
            "prompt": "x",
            "max_tokens": 900,
            "n": 8,
            "ignore_eos": True,
            "stream": True,
        }
        with http.stream("POST", "/v1/completions", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 30
            while (answer := httpx.get(url + "/ready")).status_code != 503:
                assert time.monotonic() < deadline
            assert answer.json()["draining"] is True
            refused = httpx.post(url + "/v1/completions", json=body)
            assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
            assert refused.json()["error"]["code"] == "service_unavailable"
            assert list(lines)[-2:] == ["data: [DONE]", ""]  # who was inside is served to the end
    assert process.wait(60) == 0
    told = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {"POST", "GET"} == {line["method"] for line in told if line["message"] == "request"}


class Reader(threading.Thread):
    """Reads a stream that takes a while, to its end or to its being cut."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.begun, self.lines = url, threading.Event(), list[str]()

    def run(self) -> None:
        body = {"model": "bardi", "prompt": "x", "max_tokens": 1000, "n": 64}
        body |= {"ignore_eos": True, "stream": True}
        with (
            contextlib.suppress(httpx.TransportError),  # the server is gone
            httpx.stream("POST", self.url + "/v1/completions", json=body, timeout=60) as stream,
        ):
            for line in stream.iter_lines():
                self.lines.append(line)
                self.begun.set()


def test_a_second_sigterm_waits_for_nobody(serving: tuple[subprocess.Popen[str], str]) -> None:
    process, url = serving
    reader = Reader(url)
    reader.start()
    assert reader.begun.wait(60)
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 30
    while httpx.get(url + "/ready").status_code != 503:  # the first one has been heard
        assert time.monotonic() < deadline
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    reader.join(60)
    assert not reader.is_alive()
    assert "data: [DONE]" not in reader.lines


@pytest.mark.parametrize("serving", [("--grace", "1")], indirect=True)
def test_grace_is_bounded(serving: tuple[subprocess.Popen[str], str]) -> None:
    process, url = serving
    reader = Reader(url)
    reader.start()
    assert reader.begun.wait(60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    reader.join(60)
    assert not reader.is_alive()
    assert "data: [DONE]" not in reader.lines
