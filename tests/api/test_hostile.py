"""Hostile input gets a 4xx or a valid answer within its deadline, and the next request is served."""

from __future__ import annotations

import asyncio
import gzip
import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
import uvicorn

from bottega.errors import InputError
from bottega.models.gpt import GPT
from bottega.models.load import load, load_tokenizer
from bottega.server.app import create_app
from bottega.server.guard.protocol import BoundedProtocol
from bottega.server.run import Server, listen
from bottega.server.settings import ServerSettings
from bottega.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from conftest import Running

GOOD: dict[str, Any] = {"model": "bardi", "prompt": "The apprentice", "max_tokens": 2}
CHAT: dict[str, Any] = {
    "model": "bardi",
    "messages": [{"role": "user", "content": "Good day"}],
    "max_tokens": 2,
}
DEADLINE = 60.0  # seconds
JSON = {"content-type": "application/json"}


@pytest.fixture(autouse=True)
def next_request_is_served(http: httpx.Client) -> Iterator[None]:
    yield
    answer = http.post("/v1/completions", json=GOOD)
    assert answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] <= 2


def refused(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    """The error of an answer that refuses."""
    assert answer.status_code in (statuses or range(400, 500)), answer.text
    assert answer.elapsed.total_seconds() < DEADLINE
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def raw(url: str, *pieces: bytes) -> bytes:
    """What the server says to bytes that no client library would send, until it closes."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE) as connection:
        for piece in pieces:
            connection.sendall(piece)
        said = b""
        while piece := connection.recv(65536):
            said += piece
    return said


# Sizes


@pytest.mark.parametrize("headers", [{"x-long": "a" * 2**20}, {f"x-{i}": "a" * 1000 for i in range(1000)}])
def test_a_megabyte_of_headers(http: httpx.Client, headers: dict[str, str]) -> None:
    refused(http.get("/v1/models", headers=headers), 431)
    refused(http.post("/v1/completions", json=GOOD, headers=headers), 431)


def test_a_megabyte_of_address(http: httpx.Client, running: Running) -> None:
    said = raw(running.url, b"GET /" + b"a" * 2**20 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 431")


def test_bodies_of_a_hundred_megabytes(http: httpx.Client) -> None:
    said = refused(http.post("/v1/completions", content=b" " * 100_000_000, headers=JSON), 413)
    assert said["code"] == "request_too_large"


def test_a_hundred_megabytes_that_nobody_announced(http: httpx.Client) -> None:
    pieces = (b" " * 2**20 for _ in range(100))
    refused(http.post("/v1/completions", content=pieces, headers=JSON), 413)


def test_a_gzip_bomb_is_not_unpacked(http: httpx.Client) -> None:
    bomb = gzip.compress(b"[" * 50_000_000)
    for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip"):
        refused(
            http.post("/v1/completions", content=bomb, headers={**JSON, "content-encoding": encoding}), 415
        )


# JSON


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"model": "bardi", "prompt": ' + b"[" * 500 + b"]" * 500 + b"}",
        json.dumps(GOOD | {"metadata": json.loads("[" * 100 + "]" * 100)}).encode(),
    ],
)
def test_deep_json(http: httpx.Client, body: bytes) -> None:
    assert refused(http.post("/v1/completions", content=body, headers=JSON), 400)["code"] == "invalid_json"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 400, "1" * 5000])
@pytest.mark.parametrize("field", ["temperature", "max_tokens", "seed", "logit_bias", "prompt", "made_up"])
def test_numbers_that_no_double_holds(http: httpx.Client, number: str, field: str) -> None:
    value = {"logit_bias": '{"1": %s}', "prompt": "[%s]"}.get(field, "%s") % number
    rest = {name: given for name, given in GOOD.items() if name != field}
    body = json.dumps(rest)[:-1] + f', "{field}": {value}}}'
    refused(http.post("/v1/completions", content=body, headers=JSON), 400)


@pytest.mark.parametrize(
    "body", [b"\xff\xfe{", b'{"model": "\xc3\x28"}', b'{"prompt": "\xed\xa0\x80"}', b"\x00"]
)
def test_invalid_utf_8(http: httpx.Client, body: bytes) -> None:
    refused(http.post("/v1/completions", content=body, headers=JSON), 400)


def test_a_key_twice_is_taken_as_it_stands_last(http: httpx.Client) -> None:
    body = '{"model": "nobody", "model": "bardi", "prompt": "x", "max_tokens": 1}'
    assert http.post("/v1/completions", content=body, headers=JSON).status_code == 200


# Fields

NUMBERS = [-1, -(10**6), 2**31, 2**63, -(2**63) - 1, 2**64, 10**30, 1e308, -1e308]


def numeric_fields(http: httpx.Client, path: str) -> list[str]:
    """The names of a route's fields that take a number, by the server's own description."""
    described = http.get("/openapi.json").json()
    content = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schema = described["components"]["schemas"][content["$ref"].rsplit("/")[-1]]
    return [
        name
        for name, field in schema["properties"].items()
        if {"integer", "number"} & {one.get("type") for one in (field, *field.get("anyOf", []))}
    ]


@pytest.mark.parametrize("value", NUMBERS)
@pytest.mark.parametrize(("path", "good"), [("/v1/completions", GOOD), ("/v1/chat/completions", CHAT)])
def test_numbers_out_of_range_in_every_field(
    http: httpx.Client, path: str, good: dict[str, Any], value: int | float
) -> None:
    fields = numeric_fields(http, path)
    assert {"max_tokens", "temperature", "seed", "n"} <= set(fields)
    for field in fields:
        answer = http.post(path, json=good | {field: value})
        assert answer.status_code == 200 or refused(answer, 400), (field, value)


@pytest.mark.parametrize("temperature", [5e-324, 1e-308, 1e-45, 1e-30])
def test_the_smallest_temperatures_take_the_likeliest(http: httpx.Client, temperature: float) -> None:
    texts = [
        http.post("/v1/completions", json=GOOD | {"temperature": t}).json()["choices"][0]["text"]
        for t in (0, temperature)
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("prompt", ["", [], [[]], [""], ["", ""], [[], [1]], None])
@pytest.mark.parametrize("extra", [{}, {"echo": True, "logprobs": 1, "max_tokens": 0}, {"max_tokens": 0}])
def test_empty_prompts(http: httpx.Client, prompt: Any, extra: dict[str, Any]) -> None:
    answer = http.post("/v1/completions", json=GOOD | {"prompt": prompt} | extra)
    assert answer.status_code == 200 or refused(answer, 400)


@pytest.mark.parametrize("token", [-1, 10**5, 2**31, 2**63, 2**64])
def test_tokens_out_of_the_vocabulary(http: httpx.Client, token: int) -> None:
    for prompt in ([token], [1, token], [[1], [token]]):
        assert refused(http.post("/v1/completions", json=GOOD | {"prompt": prompt}), 400)["param"] == "prompt"
    answer = http.post("/v1/completions", json=GOOD | {"logit_bias": {str(token): 1}})
    assert refused(answer, 400)["param"] == "logit_bias"


CLIMBS = [
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "....//etc/passwd",
    "..\\..\\x",
]


def routes_with_ids(http: httpx.Client) -> list[tuple[str, str]]:
    """Every route with an id in its address, by the server's own description."""
    described = http.get("/openapi.json").json()["paths"]
    return [(method, path) for path, verbs in described.items() if "{" in path for method in verbs]


@pytest.mark.parametrize("climb", [*CLIMBS, "\x00", "%00", "%ff", "a" * 5000, " ", "*", "' OR 1=1 --"])
def test_no_id_leaves_its_folder(http: httpx.Client, running: Running, climb: str) -> None:
    routes = routes_with_ids(http)
    assert len(routes) >= 1
    for method, path in routes:
        before, _, rest = path.partition("{")
        address = before + climb.replace("\x00", "%00").replace(" ", "%20") + rest.partition("}")[2]
        head = f"{method.upper()} {address} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        # A client library would shorten the path by itself.
        said = raw(running.url, f"{head}content-length: 0\r\n\r\n".encode())
        assert said.startswith((b"HTTP/1.1 4", b"HTTP/1.1 307")), (method, address, said)
        assert b"root:" not in said


# Structured output

NESTED = [
    "(a+)+$",
    "((a*)*)*b",
    "(x+x+)+y",
    "(" * 200 + "a" + ")*" * 200,
    "a{1,1000000}",
    "(a{1,1000}){1,1000}",
    "(",
]


@pytest.mark.parametrize("pattern", NESTED)
def test_nested_quantifiers(http: httpx.Client, pattern: str) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": pattern}},
        "required": ["a"],
    }
    form = {"type": "json_schema", "json_schema": {"name": "form", "schema": schema}}
    answer = http.post("/v1/chat/completions", json=CHAT | {"response_format": form, "max_tokens": 8})
    assert answer.elapsed.total_seconds() < DEADLINE
    assert answer.status_code == 200 or refused(answer, 400)


def memory(running: Running) -> int:
    """Bytes of the engine's process and of this one, in which the server runs."""
    pids = (running.served.engine.pid, None)
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)


def many_schemas(http: httpx.Client, first: int, last: int) -> None:
    for i in range(first, last):
        schema = {
            "type": "object",
            "properties": {f"field_{i}": {"type": "string", "maxLength": i % 7}},
            "required": [f"field_{i}"],
            "additionalProperties": False,
        }
        form = {"type": "json_schema", "json_schema": {"name": f"form_{i}", "schema": schema}}
        answer = http.post("/v1/chat/completions", json=CHAT | {"response_format": form, "max_tokens": 1})
        assert answer.status_code in (200, 400), answer.text
        assert answer.elapsed.total_seconds() < DEADLINE


def test_many_distinct_schemas(http: httpx.Client, running: Running) -> None:
    many_schemas(http, 0, 100)  # which fill the engine's cache of them
    before = memory(running)
    many_schemas(http, 100, 300)
    assert memory(running) - before < 30e6


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_distinct_schemas(http: httpx.Client, running: Running) -> None:
    many_schemas(http, 0, 1000)
    before = memory(running)
    many_schemas(http, 1000, 10_000)
    assert memory(running) - before < 60e6


# Nothing is fetched


@pytest.fixture
def canary() -> Iterator[tuple[str, list[str]]]:
    """A web server that notes who asks it."""
    asked: list[str] = []

    class Canary(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Canary) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_no_address_is_fetched(http: httpx.Client, canary: tuple[str, list[str]]) -> None:
    own, asked = canary
    assert httpx.get(own + "/it-works").status_code == 204
    for url in (own + "/picture.png", "file:///etc/passwd", "http://169.254.169.254/latest/meta-data/"):
        for part in (
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "input_audio", "input_audio": {"data": url, "format": "wav"}},
            {"type": "file", "file": {"file_data": url}},
        ):
            messages = [{"role": "user", "content": [part]}]
            refused(http.post("/v1/chat/completions", json=CHAT | {"messages": messages}), 400)
        schema = {"type": "object", "properties": {"a": {"$ref": url}}, "required": ["a"]}
        form = {"type": "json_schema", "json_schema": {"name": "form", "schema": schema}}
        answer = http.post("/v1/chat/completions", json=CHAT | {"response_format": form})
        assert answer.status_code == 200 or refused(answer, 400)
        refused(http.post("/v1/completions", json=GOOD | {"model": url}), 404)
    assert asked == ["/it-works"]


# Time


@pytest.fixture
def impatient() -> Iterator[str]:
    """The address of a server that waits half a second for a body; it needs no model to refuse."""
    listener = listen("127.0.0.1", 0)
    ready = threading.Event()
    app = create_app({}, settings=ServerSettings(body_timeout=0.5))
    server = Server(uvicorn.Config(app, http=BoundedProtocol, log_level="warning"), {}, ready.set)
    thread = threading.Thread(target=lambda: asyncio.run(server._serve([listener])))
    thread.start()
    assert ready.wait(20)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
def test_a_body_that_never_comes_is_given_up(impatient: str, kind: str) -> None:
    path = "/v1/completions" if "json" in kind else "/v1/files"
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: 99\r\n\r\n"
    begun = time.monotonic()
    assert raw(impatient, head.encode(), b"--x\r\n").startswith(b"HTTP/1.1 408")
    assert time.monotonic() - begun < DEADLINE


# Whoever talks no HTTP


@pytest.mark.parametrize(
    "said", [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"HELLO\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
)
def test_what_is_no_http(running: Running, said: bytes) -> None:
    assert raw(running.url, said).startswith(b"HTTP/1.1 400")


def test_broken_chunks(running: Running) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    said = raw(running.url, head + b"transfer-encoding: chunked\r\n\r\n", b"zz\r\nnot hexadecimal\r\n")
    assert said.startswith(b"HTTP/1.1 400")


# Model folders


@pytest.fixture
def evil(tmp_path: Path, gpt: GPT, tokenizer: Tokenizer) -> tuple[Path, Path]:
    """A checkpoint among code that would leave a mark, and the mark."""
    folder, mark = tmp_path / "evil", tmp_path / "mark"
    gpt.save_pretrained(folder)
    tokenizer.save(folder)
    code = f"import pathlib; pathlib.Path({str(mark)!r}).write_text('executed')"
    for name in ("modeling_evil.py", "configuration_evil.py", "tokenization_evil.py", "__init__.py"):
        (folder / name).write_text(code)
    # Protocol 0: it calls builtins.exec on the code, as loading any pickle may.
    (folder / "pytorch_model.bin").write_bytes(b"cbuiltins\nexec\n(S" + repr(code).encode() + b"\ntR.")
    change_config(
        folder, auto_map={"AutoConfig": "configuration_evil.Evil", "AutoModel": "modeling_evil.Evil"}
    )
    return folder, mark


def change_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_checkpoint_among_code_is_loaded_without_it(evil: tuple[Path, Path]) -> None:
    folder, mark = evil
    assert isinstance(load(folder), GPT)
    load_tokenizer(folder)
    assert not mark.exists()


def test_a_model_that_is_only_code_is_refused(evil: tuple[Path, Path]) -> None:
    folder, mark = evil
    change_config(folder, model_type="evil", architectures=["EvilForCausalLM"])
    with pytest.raises(InputError):
        load(folder)
    assert not mark.exists()


def test_a_pickle_is_never_opened(evil: tuple[Path, Path]) -> None:
    folder, mark = evil
    (folder / "model.safetensors").unlink()
    command = "from bottega.cli import main; main()"
    serve = [sys.executable, "-O", "-c", command, "serve", str(folder), "--port=0"]
    done = subprocess.run(serve, capture_output=True, text=True, timeout=120, check=False)
    assert not mark.exists()
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "test_errors.py",
        *(pytest.param(f"test_{name}.py", marks=pytest.mark.slow) for name in ("hostile", "fields", "files")),
    ],
)
@pytest.mark.timeout(1200)
def test_the_server_does_not_live_by_assertions(name: str) -> None:
    """Under `python -O` the program's own assertions are gone; pytest's stay."""
    path = str(Path(__file__).with_name(name))
    suite = [sys.executable, "-O", "-m", "pytest", path, "-x", "-k", "not live_by_assertions"]
    done = subprocess.run(suite, capture_output=True, text=True, timeout=1100, check=False)
    assert done.returncode == 0, done.stdout
