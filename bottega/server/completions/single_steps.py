"""Requests that are read and not continued: embeddings and the scores of texts, which take one step each."""

from __future__ import annotations

from collections.abc import Sequence

from bottega.engine.engine import Engine
from bottega.engine.request import Request
from bottega.nn.steps import Step

WAVE = 64  # how many of one client's are under way at once: the others' need room in the queue


async def single_steps(engine: Engine, requests: Sequence[Request]) -> list[Step]:
    """The one step of each request, in their order. Raises InputError where one exceeds the context."""
    found: dict[int, Step] = {}
    for start in range(0, len(requests), WAVE):
        with engine.submit(requests[start : start + WAVE]) as steps:
            async for i, step in steps:
                found[start + i] = step
    return [found[i] for i in range(len(requests))]
