"""How fast are many clients served over HTTP? `bottega serve` beside llama-server and `transformers serve`.

GPT-2 124M with random weights and a made-up vocabulary of its size; every answer has 64 tokens and is
streamed, and a client asks again as soon as it has its answer. Servers run one after the other on loopback
and are started and stopped here. llama-server reads the same weights at 8 bits (Q8_0).

    python bench/serving.py                                  # under ten minutes
    python bench/serving.py --llama-server PATH                  # with one rival, some minutes more
    python bench/serving.py --llama-server PATH --transformers   # another: half an hour more
    python bench/serving.py --quick                          # a tiny model, to show that all is in place
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from report import record

from bottega.interop.gguf_file import export_gguf
from bottega.models.gpt import GPT
from bottega.recipes.gpt import SHAPES
from bottega.server.run import listen
from bottega.text.bytelevel import CHARACTER_OF, GPT2, definition
from bottega.text.tokenizer import END_OF_TEXT, Tokenizer

DRAWN = 64  # tokens of an answer


@dataclass(frozen=True)
class Bench:
    """Clients of a server on this machine."""

    weights: tuple[str, ...] = ("int8", "bf16")
    clients: tuple[int, ...] = (16, 64)
    requests: int = 2  # of each client
    llama_server: Path | None = None  # the program, if it is to be measured too
    transformers: bool = False  # in bf16 and batched: by default it answers one request after the other
    quick: bool = False


@dataclass(frozen=True)
class Server:
    """A server that is ready, and the fields with which it draws DRAWN greedy tokens whatever they are."""

    port: int
    ready: float  # seconds until it was
    fields: dict[str, Any] = field(
        default_factory=lambda: {"model": "model", "max_tokens": DRAWN, "temperature": 0, "ignore_eos": True}
    )


@dataclass(frozen=True)
class Answer:
    """When a request was sent and each of its events came, in seconds."""

    sent: float
    events: list[float]


def main(bench: Bench) -> None:
    """Measure each server under each load."""
    with tempfile.TemporaryDirectory() as name:
        folder = make_model(Path(name) / "model", bench.quick)
        servers = [(f"bottega {kind}", bottega(folder, kind, bench)) for kind in bench.weights]
        if bench.llama_server is not None:
            export_gguf(folder, Path(name) / "model.gguf", "q8_0")
            servers.append(("llama-server Q8_0", llama(bench.llama_server, Path(name) / "model.gguf")))
        if bench.transformers:
            servers.append(("transformers bf16 batched", transformers(folder)))
        for case, starting in servers:
            with starting as server:
                print(f"{case}: ready after {server.ready:.1f} s")
                measure(case, server, bench)


def measure(name: str, server: Server, bench: Bench) -> None:
    """Put every load on a server, print what came of it and, unless quick, write it down."""
    asyncio.run(ask(server, " a"))  # some set themselves up when the first request comes
    for clients in (2,) if bench.quick else bench.clients:
        for load, prompts in loads(clients * bench.requests).items():
            began = time.perf_counter()
            answers = asyncio.run(crowd(server, prompts, clients))
            row = summary(answers, time.perf_counter() - began)
            print(f"  {clients} clients, {load}:", row, flush=True)
            if not bench.quick:
                case = {"case": f"{name}, {clients} clients, {load}"}
                record("serving", case | {"ready s": round(server.ready, 1)} | row)


def make_model(folder: Path, quick: bool) -> Path:
    """A checkpoint with random weights, and a tokenizer of bytes and of two or three printable characters.

    So nearly every token is text by itself, which some servers wait for before they send it.
    """
    config = SHAPES["gpt2-124m"]
    torch.manual_seed(0)
    GPT(replace(config, n_layer=2, n_head=2, n_embd=32) if quick else config).save_pretrained(folder)
    characters = [CHARACTER_OF[byte] for byte in range(256)]
    printable = [CHARACTER_OF[byte] for byte in range(32, 127)]
    pairs = [(a, b) for a in printable for b in printable]
    merges = [*pairs, *((a + b, c) for a, b in pairs for c in printable)][: config.vocab_size - 257]
    vocab = {token: id for id, token in enumerate([*characters, *(a + b for a, b in merges)])}
    Tokenizer(definition(vocab, merges, GPT2, {END_OF_TEXT: config.vocab_size - 1})).save(folder)
    return folder


def loads(n: int) -> dict[str, list[str]]:
    """The prompts of `n` requests, the same for every server: a space and a letter are one token."""
    drawn = random.Random(0)

    def words(length: int) -> str:
        return "".join(f" {drawn.choice(string.ascii_letters)}" for _ in range(length))

    shared = words(512)
    return {
        "64 in": [words(64) for _ in range(n)],
        "896 in": [words(896) for _ in range(n)],
        "512 shared + 64 in": [shared + words(64) for _ in range(n)],
    }


@contextmanager
def bottega(folder: Path, weights: str, bench: Bench) -> Iterator[Server]:
    """`bottega serve`."""
    command = [sys.executable, "-m", "bottega", "serve", f"model={folder}", "--port", "0", "--log-level"]
    command += ["warning", "--state", str(folder.parent / "state")]
    command += [] if bench.quick else ["--weights", weights]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = (re.search(r"http://[\d.]+:(\d+)", line) for line in process.stdout)
            yield Server(int(next(match[1] for match in found if match)), time.perf_counter() - began)
        finally:
            process.terminate()


@contextmanager
def llama(program: Path, model: Path) -> Iterator[Server]:
    """llama-server with 16 slots, each of the whole context."""
    with answering([str(program), "-m", str(model), "--parallel", "16", "-c", str(16 * 1024)]) as (
        port,
        ready,
    ):
        yield Server(port, ready)


@contextmanager
def transformers(folder: Path) -> Iterator[Server]:
    """`transformers serve`, to which the end of the text is unknown, so that no answer ends early."""
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder)]
    command += ["--continuous-batching", "--device", "cpu", "--dtype", "bfloat16"]
    with answering(command) as (port, ready):
        settings = {"max_new_tokens": DRAWN, "min_new_tokens": DRAWN, "do_sample": False}
        yield Server(port, ready, {"model": str(folder), "generation_config": json.dumps(settings)})


@contextmanager
def answering(command: list[str]) -> Iterator[tuple[int, float]]:
    """A rival's process on a free port, which /health says is ready, and the seconds until it did."""
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    began = time.perf_counter()
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*command, "--port", str(port)], stdout=quiet, stderr=quiet) as process:
        try:
            asyncio.run(until_healthy(port))
            yield port, time.perf_counter() - began
        finally:
            process.terminate()


async def until_healthy(port: int, seconds: float = 60) -> None:
    """Wait until /health answers 200."""
    for _ in range(int(seconds / 0.05)):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if b" 200 " in await reader.readline():
                return
        except OSError:
            pass
        await asyncio.sleep(0.05)
    raise TimeoutError("the server was not ready within a minute")


async def crowd(server: Server, prompts: Sequence[str], clients: int) -> list[Answer]:
    """All answers: each client takes the next prompt when it has its answer."""
    left = iter(prompts)

    async def client() -> list[Answer]:
        return [await ask(server, prompt) for prompt in left]

    return [
        answer for answers in await asyncio.gather(*(client() for _ in range(clients))) for answer in answers
    ]


async def ask(server: Server, prompt: str) -> Answer:
    """One streamed completion, over a bare socket: the client shares the cores with the server."""
    body = json.dumps(server.fields | {"prompt": prompt, "stream": True}).encode()
    head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    sent = time.perf_counter()
    writer.write(f"POST /v1/completions HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode() + body)
    status, events = await reader.readline(), []
    if b" 200 " not in status:
        raise RuntimeError(f"{status.decode().strip()}: {(await reader.read()).decode()[-300:]}")
    while line := await reader.readline():
        if line.startswith(b"data: {"):
            events.append(time.perf_counter())
    writer.close()
    return Answer(sent, events)


def summary(answers: Sequence[Answer], took: float) -> dict[str, float]:
    """Tokens a second, and percentiles in milliseconds; the gaps are those between events."""
    first = [1000 * (answer.events[0] - answer.sent) for answer in answers]
    gaps = [
        1000 * (b - a) for answer in answers for a, b in zip(answer.events, answer.events[1:], strict=False)
    ]
    row = {"tokens/s": len(answers) * DRAWN / took}
    for name, values in (("first token", first), ("between tokens", gaps)):
        percentiles = statistics.quantiles(values, n=100, method="inclusive")
        row |= {f"{name} p50 ms": percentiles[49], f"{name} p99 ms": percentiles[98]}
    return {name: round(value, 1) for name, value in row.items()}


if __name__ == "__main__":
    main(tyro.cli(Bench, description=__doc__))
