"""The engine: its clients get what each would have got alone, and those who leave free their slots."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from bottega.engine.engine import Engine
from bottega.engine.request import Request
from bottega.errors import InputError, WorkError
from bottega.models.generation import generate
from bottega.models.gpt import GPT, GPTConfig
from bottega.nn.sampling_params import SamplingParams

END = 60


@pytest.fixture(scope="module")
def model() -> GPT:
    torch.manual_seed(0)
    gpt = GPT(GPTConfig(vocab_size=61, context_length=512, n_layer=2, n_head=2, n_embd=16))
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return gpt.eval()


@pytest.fixture
def engine(model: GPT) -> Iterator[Engine]:
    running = Engine(model, END, slots=3)
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


def test_more_clients_than_slots_each_get_their_own(model: GPT, engine: Engine) -> None:
    prompts = [[i, i + 1, 7 * i % 60][: 1 + i % 3] for i in range(10)]
    params = [SamplingParams(seed=i, max_tokens=3 + 4 * (i % 4), temperature=i % 2) for i in range(10)]

    async def all_at_once() -> list[list[int]]:
        requests = [Request(p, q) for p, q in zip(prompts, params, strict=True)]
        return await asyncio.gather(*(ids(engine, request) for request in requests))

    alone = [generate(model, [p], q, END)[0].ids for p, q in zip(prompts, params, strict=True)]
    assert asyncio.run(all_at_once()) == alone
    assert engine.load == (0, 0)


def test_tokens_arrive_as_they_are_drawn(engine: Engine) -> None:
    async def first_of_many() -> tuple[int, int]:
        params = SamplingParams(seed=1, logit_bias={END: -100})
        with engine.submit([Request([1], params)]) as steps:
            await anext(aiter(steps))
            running = engine.load[0]
            rest = [step async for _, step in steps]
        return running, len(rest)

    running, rest = asyncio.run(first_of_many())
    assert (running, rest) == (1, 510)  # it still ran when its first token was here


def test_one_client_with_many_requests(model: GPT, engine: Engine) -> None:
    params = SamplingParams(seed=2, max_tokens=9)

    async def together() -> list[list[int]]:
        gathered: list[list[int]] = [[] for _ in range(5)]
        with engine.submit([Request([3], params, choice) for choice in range(5)]) as steps:
            async for i, step in steps:
                gathered[i] += [step.token.id] if step.token else []
        return gathered

    assert asyncio.run(together()) == [c.ids for c in generate(model, [[3]], params, END, n=5)]


def test_leaving_aborts_and_the_waiting_one_enters(engine: Engine) -> None:
    params = SamplingParams(seed=1, logit_bias={END: -100})

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
        task = asyncio.create_task(ids(engine, Request([1], SamplingParams(logit_bias={END: -100}))))
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


def test_a_failing_step_is_told_to_its_clients_and_the_next_is_served(model: GPT) -> None:
    engine = Engine(model, END)
    weight = model.norm.weight
    try:
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.fill_(float("nan"))
        with pytest.raises(WorkError, match="not finite"):
            asyncio.run(ids(engine, Request([1], SamplingParams(max_tokens=3))))
        with torch.no_grad():
            weight.copy_(kept)
        assert len(asyncio.run(ids(engine, Request([1], SamplingParams(max_tokens=3))))) <= 3
    finally:
        engine.close()


def test_stopping_ends_the_streams_at_once(model: GPT) -> None:
    engine = Engine(model, END, slots=1)

    async def stopped_midway() -> None:
        requests = [Request([i], SamplingParams(logit_bias={END: -100})) for i in range(2)]
        streams = [engine.submit([request]) for request in requests]
        await anext(streams[0])
        engine.stop()
        for stream in streams:
            with pytest.raises(WorkError, match="stopping"):
                async for _ in stream:
                    pass
        with pytest.raises(WorkError, match="stopped"):
            engine.submit(requests)

    asyncio.run(stopped_midway())
    engine.close()
