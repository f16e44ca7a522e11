"""Times what engines give their clients: the first token, the gaps between tokens, how many there were."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bottega.engine.request import Request
from bottega.engine.stream import Stream
from bottega.nn.steps import Step
from bottega.server.observe.metrics import Metrics
from bottega.server.observe.request_log import account


def watch(metrics: Metrics, model: str) -> Callable[[Sequence[Request], Stream], None]:
    """What an engine's `on_submit` is to be, so that its streams are timed under a model's name."""
    first, between = metrics.first_token.labels(model), metrics.between_tokens.labels(model)

    def on_submit(requests: Sequence[Request], stream: Stream) -> None:
        begun = time.perf_counter()
        last: dict[int, float] = {}  # when each request gave its latest token
        mine = account.get()
        if mine is not None:
            mine.model = model
            mine.prompt_tokens += sum(len(request.prompt) for request in requests if request.choice == 0)

        def on_step(number: int, step: Step) -> None:
            if step.token is None:
                return
            now = time.perf_counter()
            if number in last:
                between.observe(now - last[number])
            else:
                first.observe(now - begun)
            last[number] = now
            if mine is not None:
                mine.completion_tokens += 1

        stream.on_step = on_step

    return on_submit
