"""How fast are many clients served over HTTP? `bottega serve` beside llama.cpp's llama-server.

GPT-2 124M with random weights and a made-up vocabulary of its size; prompts are token ids, every answer has
64 tokens and is streamed, and a client asks again as soon as it has its answer. Servers run one after the
other on loopback and are started and stopped here. llama-server reads the same weights at 8 bits (Q8_0).

    python bench/serving.py                                  # under ten minutes
    python bench/serving.py --llama-server PATH              # with the rival
    python bench/serving.py --quick                          # a tiny model, to show that all is in place
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

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
    quick: bool = False


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
        for server, starting in servers:
            with starting as (port, model, ready):
                print(f"{server}: ready after {ready:.1f} s")
                for clients in (2,) if bench.quick else bench.clients:
                    for load, prompts in loads(clients * bench.requests).items():
                        began = time.perf_counter()
                        answers = asyncio.run(crowd(port, model, prompts, clients))
                        row = summary(answers, time.perf_counter() - began)
                        print(f"  {clients} clients, {load}:", row)
                        if not bench.quick:
                            case = {"case": f"{server}, {clients} clients, {load}"}
                            record("serving", case | {"ready s": round(ready, 1)} | row)


def make_model(folder: Path, quick: bool) -> Path:
    """A checkpoint with random weights, and a tokenizer whose tokens are bytes and pairs of bytes."""
    config = SHAPES["gpt2-124m"]
    torch.manual_seed(0)
    GPT(replace(config, n_layer=2, n_head=2, n_embd=32) if quick else config).save_pretrained(folder)
    characters = [CHARACTER_OF[byte] for byte in range(256)]
    pairs = [(a, b) for a in characters for b in characters][: config.vocab_size - 257]
    vocab = {token: id for id, token in enumerate([*characters, *(a + b for a, b in pairs)])}
    Tokenizer(definition(vocab, pairs, GPT2, {END_OF_TEXT: config.vocab_size - 1})).save(folder)
    return folder


def loads(n: int) -> dict[str, list[list[int]]]:
    """The prompts of `n` requests, the same for every server."""
    drawn = random.Random(0)

    def ids(length: int) -> list[int]:
        return [drawn.randrange(50_000) for _ in range(length)]

    shared = ids(512)
    return {
        "64 in": [ids(64) for _ in range(n)],
        "896 in": [ids(896) for _ in range(n)],
        "512 shared + 64 in": [shared + ids(64) for _ in range(n)],
    }


@contextmanager
def bottega(folder: Path, weights: str, bench: Bench) -> Iterator[tuple[int, str, float]]:
    """`bottega serve`: its port, its model's name and the seconds until it was ready."""
    command = [sys.executable, "-m", "bottega", "serve", f"model={folder}", "--port", "0", "--log-level"]
    command += ["warning", "--state", str(folder.parent / "state")]
    command += [] if bench.quick else ["--weights", weights]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = (re.search(r"http://[\d.]+:(\d+)", line) for line in process.stdout)
            yield int(next(match[1] for match in found if match)), "model", time.perf_counter() - began
        finally:
            process.terminate()


@contextmanager
def llama(program: Path, model: Path) -> Iterator[tuple[int, str, float]]:
    """llama-server with 16 slots, each of the whole context."""
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    command = [str(program), "-m", str(model), "--port", str(port), "--parallel", "16", "-c", str(16 * 1024)]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            asyncio.run(until_healthy(port))
            yield port, "model", time.perf_counter() - began
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


async def crowd(port: int, model: str, prompts: Sequence[list[int]], clients: int) -> list[Answer]:
    """All answers: each client takes the next prompt when it has its answer."""
    left = iter(prompts)

    async def client() -> list[Answer]:
        return [await ask(port, model, prompt) for prompt in left]

    return [
        answer for answers in await asyncio.gather(*(client() for _ in range(clients))) for answer in answers
    ]


async def ask(port: int, model: str, prompt: list[int]) -> Answer:
    """One streamed completion, over a bare socket: the client shares the cores with the server."""
    fields = {"model": model, "prompt": prompt, "max_tokens": DRAWN, "stream": True, "ignore_eos": True}
    body = json.dumps(fields | {"temperature": 0}).encode()
    head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
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
