"""Does a server that is used for minutes keep its memory? Prints that of the server and of its engine.

Eight clients ask a running `bottega serve` for completions, and some go away half-way. The growth
counts from the second minute on.

    python bench/soak.py --minutes 10 runs/quickstart
"""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil
import tyro
from report import record

CLIENTS = 8
MOST = 0.02  # of growth


def main(model: tyro.conf.Positional[Path], minutes: float = 10) -> None:
    """Use the server until the time is over; leaves with 1 where memory grew by more than 2 %."""
    if not model.exists():
        sys.exit(f"{model} is not there; train it with: make start")
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "bottega", "serve", f"model={model}", "--port", "0"]
        command += ["--log-level", "warning", "--state", state]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                found = (re.search(r"http://[\d.:]+", line) for line in server.stdout)
                url = next((match[0] for match in found if match), None)
                if url is None:
                    sys.exit("the server ended before it listened; its reason stands above")
                seen = asyncio.run(soak(url, psutil.Process(server.pid), 60 * minutes))
            finally:
                server.terminate()
    settled = [memory for second, memory in seen if second >= min(120, 30 * minutes)]
    growth = max(settled) / settled[0] - 1
    print(f"growth: {growth:.2%}")
    if minutes >= 5:  # less shows only that everything is in place
        record("soak", {"case": f"{minutes:g} minutes", "MB": settled[-1] / 1e6, "growth": growth})
    sys.exit(growth > MOST)


async def soak(url: str, server: psutil.Process, seconds: float) -> list[tuple[float, int]]:
    """Seconds since the start, and the bytes of the server's processes, each half minute or twenty times."""
    began, seen = time.monotonic(), []
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        clients = [asyncio.create_task(use(client, random.Random(i))) for i in range(CLIENTS)]
        while (passed := time.monotonic() - began) < seconds:
            await asyncio.sleep(min(30, seconds / 20))
            sizes = [process.memory_info().rss for process in (server, *server.children())]
            seen.append((passed, sum(sizes)))
            print(f"{passed:4.0f} s:", ", ".join(f"{size / 1e6:.1f} MB" for size in sizes), flush=True)
            for task in clients:
                if task.done():
                    task.result()  # raises what went wrong
        for task in clients:
            task.cancel()
    return seen


async def use(client: httpx.AsyncClient, drawn: random.Random) -> None:
    """One client, for ever."""
    while True:
        body = {
            "model": "model",
            "prompt": " ".join(
                drawn.choices(("the", "list", "of", "glue", "import", "café"), k=drawn.randint(1, 40))
            ),
            "max_tokens": drawn.randint(1, 60),
            "temperature": drawn.choice((0, 1)),
            "logprobs": drawn.choice((None, 2)),
            "n": drawn.choice((1, 3)),
            "stream": True,
        }
        leaves = drawn.random() < 0.2
        async with client.stream("POST", "/v1/completions", json=body) as answer:
            answer.raise_for_status()
            async for _ in answer.aiter_lines():
                if leaves:
                    break


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
