"""The engine: its clients get what each would have got alone, and those who leave free their slots."""

from __future__ import annotations

import asyncio
import copy
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch

from bottega.engine.engine import Engine
from bottega.engine.request import EngineFailed, Overloaded, Request
from bottega.engine.settings import EngineSettings
from bottega.errors import InputError, WorkError
from bottega.models.generation import generate
from bottega.models.gpt import GPT, GPTConfig
from bottega.nn.sampling_params import SamplingParams
from bottega.text.tokenizer import Tokenizer

TEXT = ["The apprentice ground the colours while the master drew the hand of the angel."] * 9


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXT, 280)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> GPT:
    torch.manual_seed(0)
    gpt = GPT(GPTConfig(tokenizer.vocab_size, context_length=512, n_layer=2, n_head=2, n_embd=16))
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return gpt.eval()


@pytest.fixture(scope="module")
def folder(model: GPT, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    running = Engine.start(folder, EngineSettings(slots=3, queue=20))
    asyncio.run(running.wait_ready())
    yield running
    running.close()


async def ids(engine: Engine, request: Request) -> list[int]:
    with engine.submit([request]) as steps:
        return [step.token.id async for _, step in steps if step.token is not None]


def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.005)


def test_more_clients_than_slots_each_get_their_own(model: GPT, tokenizer: Tokenizer, engine: Engine) -> None:
    prompts = [[i, i + 1, 7 * i % 60][: 1 + i % 3] for i in range(10)]
    params = [SamplingParams(seed=i, max_tokens=3 + 4 * (i % 4), temperature=i % 2) for i in range(10)]

    async def all_at_once() -> list[list[int]]:
        requests = [Request(p, q) for p, q in zip(prompts, params, strict=True)]
        return await asyncio.gather(*(ids(engine, request) for request in requests))

    alone = [
        generate(model, [p], q, tokenizer.end_of_text)[0].ids for p, q in zip(prompts, params, strict=True)
    ]
    assert asyncio.run(all_at_once()) == alone
    assert engine.load == (0, 0)


def test_tokens_arrive_as_they_are_drawn(engine: Engine) -> None:
    async def first_of_many() -> tuple[int, int]:
        params = SamplingParams(seed=1, ignore_eos=True)
        with engine.submit([Request([1], params)]) as steps:
            await anext(aiter(steps))
            running = engine.load[0]
            rest = [step async for _, step in steps]
        return running, len(rest)

    running, rest = asyncio.run(first_of_many())
    assert (running, rest) == (1, 510)  # it still ran when its first token was here


def test_one_client_with_many_requests(model: GPT, tokenizer: Tokenizer, engine: Engine) -> None:
    params = SamplingParams(seed=2, max_tokens=9)

    async def together() -> list[list[int]]:
        gathered: list[list[int]] = [[] for _ in range(5)]
        with engine.submit([Request([3], params, choice) for choice in range(5)]) as steps:
            async for i, step in steps:
                gathered[i] += [step.token.id] if step.token else []
        return gathered

    assert asyncio.run(together()) == [
        c.ids for c in generate(model, [[3]], params, tokenizer.end_of_text, n=5)
    ]


def test_leaving_aborts_and_the_waiting_one_enters(engine: Engine) -> None:
    params = SamplingParams(seed=1, ignore_eos=True)

    async def leave_early() -> list[int]:
        streams = [engine.submit([Request([i], params)]) for i in range(3)]
        for stream in streams:
            await anext(stream)
        waiting = asyncio.create_task(ids(engine, Request([5], SamplingParams(temperature=0, max_tokens=3))))
        await asyncio.sleep(0.01)
        for stream in streams:
            stream.abort()
        return await waiting

    assert len(asyncio.run(leave_early())) <= 3
    until(lambda: engine.load == (0, 0), 1)


def test_a_client_that_is_cancelled_frees_its_slot(engine: Engine) -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(ids(engine, Request([1], SamplingParams(ignore_eos=True))))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    until(lambda: engine.load == (0, 0), 1)


def test_what_does_not_fit_is_refused_before_it_is_queued(engine: Engine) -> None:
    async def too_long() -> None:
        engine.submit([Request([1] * 500, SamplingParams(max_tokens=13))])

    with pytest.raises(InputError, match="exceed the context of 512"):
        asyncio.run(too_long())


def test_the_server_needs_no_torch(folder: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "import bottega.server.run\n"
        "from bottega.server.served import Served\n"
        "if __name__ == '__main__':\n"
        f"    engine = Served.start({str(folder)!r}).engine\n"
        "    asyncio.run(engine.wait_ready())\n"
        "    engine.close()\n"
        "    print('torch' in sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.returncode) == ("False\n", 0), result.stderr


def test_who_comes_to_a_full_queue_is_told_when_to_come_again(engine: Engine) -> None:
    endless = SamplingParams(max_tokens=500, ignore_eos=True)

    async def too_many() -> Overloaded:
        with (
            engine.submit([Request([1], endless, choice) for choice in range(23)]),
            pytest.raises(Overloaded, match="23 requests are under way") as caught,
        ):
            engine.submit([Request([1], endless)])
        while sum(engine.load):
            await asyncio.sleep(0.01)
        with engine.submit([Request([1], SamplingParams(max_tokens=1))]) as steps:
            assert len([step async for step in steps]) == 1
        return caught.value

    assert 1 <= asyncio.run(too_many()).retry_after <= 60


def test_a_killed_engine_fails_its_requests_and_comes_back(engine: Engine) -> None:
    endless = SamplingParams(max_tokens=500, ignore_eos=True)

    async def killed() -> int:
        with engine.submit([Request([1], endless)]) as steps:
            await anext(steps)
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGKILL)
            with pytest.raises(WorkError, match=r"died \(signal SIGKILL\)"):
                async for _ in steps:
                    pass
        assert not engine.ready
        with pytest.raises(WorkError, match="being loaded"):
            engine.submit([Request([1], endless)])
        await engine.wait_ready()
        return len(await ids(engine, Request([1], SamplingParams(max_tokens=5, ignore_eos=True))))

    before = engine.restarts
    assert asyncio.run(killed()) == 5
    assert engine.load == (0, 0)
    assert engine.restarts == before + 1


def test_an_engine_that_hangs_is_killed_and_started_again(folder: Path) -> None:
    engine = Engine.start(folder, EngineSettings(step_seconds=2))
    short = Request([1], SamplingParams(max_tokens=5, ignore_eos=True))

    async def hung() -> int:
        await engine.wait_ready()
        assert engine.pid is not None
        await asyncio.sleep(3)  # nobody asks anything of it, so that its silence means nothing
        assert len(await ids(engine, short)) == 5
        os.kill(engine.pid, signal.SIGSTOP)
        with pytest.raises(EngineFailed, match="no step ended within 2 seconds"):
            await asyncio.wait_for(ids(engine, short), 60)
        await engine.wait_ready()
        return len(await ids(engine, short))

    try:
        assert asyncio.run(hung()) == 5
        assert engine.restarts == 1
    finally:
        engine.close()


def test_a_model_that_cannot_be_loaded_stays_down_with_the_reason(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "damaged")
    weights = tmp_path / "damaged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    engine = Engine.start(tmp_path / "damaged")

    async def refused() -> None:
        with pytest.raises(InputError, match="damaged"):
            await engine.wait_ready()
        with pytest.raises(InputError, match="damaged"):
            engine.submit([Request([1], SamplingParams())])

    asyncio.run(refused())
    engine.close()


def test_a_failing_step_is_told_to_its_clients(model: GPT, tokenizer: Tokenizer, tmp_path: Path) -> None:
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.norm.weight.fill_(float("nan"))
    broken.save_pretrained(tmp_path)
    tokenizer.save(tmp_path)
    engine = Engine.start(tmp_path)

    async def failing() -> None:
        await engine.wait_ready()
        for _ in range(2):  # the engine lives on
            with pytest.raises(WorkError, match="no finite numbers"):
                await ids(engine, Request([1], SamplingParams(max_tokens=3)))

    try:
        asyncio.run(failing())
        assert engine.ready
    finally:
        engine.close()


def test_draining_ends_what_has_begun_and_takes_no_more(folder: Path) -> None:
    engine = Engine.start(folder)
    params = SamplingParams(max_tokens=50, ignore_eos=True)

    async def drained() -> int:
        await engine.wait_ready()
        with engine.submit([Request([1], params)]) as steps:
            await anext(steps)
            engine.drain()
            with pytest.raises(WorkError, match="stopping"):
                engine.submit([Request([1], params)])
            return len([step async for step in steps])

    assert asyncio.run(drained()) == 49
    engine.close()


def test_stopping_ends_the_streams_at_once(folder: Path) -> None:
    engine = Engine.start(folder, EngineSettings(slots=1))

    async def stopped_midway() -> None:
        await engine.wait_ready()
        requests = [Request([i], SamplingParams(ignore_eos=True)) for i in range(2)]
        streams = [engine.submit([request]) for request in requests]
        await anext(streams[0])
        engine.stop()
        for stream in streams:
            with pytest.raises(WorkError, match="stopping"):
                async for _ in stream:
                    pass
        with pytest.raises(WorkError, match="stopping"):
            engine.submit(requests)

    asyncio.run(stopped_midway())
    engine.close()
    assert engine.pid is None


def test_the_engine_leaves_when_its_server_is_killed(folder: Path) -> None:
    program = (
        "import asyncio, time\n"
        "from bottega.engine.engine import Engine\n"
        "if __name__ == '__main__':\n"
        f"    engine = Engine.start({str(folder)!r})\n"
        "    asyncio.run(engine.wait_ready())\n"
        "    print(engine.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        server.kill()
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
