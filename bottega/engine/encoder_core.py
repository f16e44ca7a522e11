"""The core of an engine whose model embeds texts and generates none: every request takes one step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bottega.engine.request import NOT_FINITE, EngineFailed, Request
from bottega.engine.settings import EngineSettings, Statistics
from bottega.errors import InputError
from bottega.models.sentence_encoder import SentenceEncoder
from bottega.nn.sampling_params import check_fits
from bottega.nn.steps import Step

AT_ONCE = 8192  # tokens of one step: long enough to be efficient, short enough to let others in


class EncoderCore:
    """Takes what `Core` takes, as far as it asks for embeddings, and gives steps as that does."""

    def __init__(self, model: SentenceEncoder, settings: EngineSettings) -> None:
        self.model, self.settings = model.eval(), settings
        self.context_length, self.vocab_size = model.config.longest, model.config.vocab_size
        self._waiting: dict[int, list[int]] = {}
        self._statistics = Statistics()

    @property
    def has_work(self) -> bool:
        """Whether a request is unfinished."""
        return bool(self._waiting)

    def add(self, id: int, request: Request) -> None:
        """Queue a request. Raises InputError where it is too long, or asks for more than an embedding."""
        if not request.embed:
            raise InputError("this model embeds texts and generates none")
        check_fits(request.prompt, request.params, self.context_length, self.vocab_size)
        self._waiting[id] = request.prompt
        tokens = self._statistics.prompt_tokens + len(request.prompt)
        self._statistics = replace(self._statistics, prompt_tokens=tokens)

    def abort(self, id: int) -> None:
        """Give a request up, if it is not finished."""
        self._waiting.pop(id, None)

    def statistics(self) -> Statistics:
        """What the core is doing and has done."""
        return replace(self._statistics, running=0, waiting=len(self._waiting))

    def step(self) -> list[tuple[int, Step]]:
        """Embed those that have waited longest, AT_ONCE tokens of them; an error loses these alone."""
        taken: list[int] = []
        tokens = 0
        for id, prompt in self._waiting.items():
            if taken and (tokens + len(prompt) > AT_ONCE or len(taken) == self.settings.slots):
                break
            taken.append(id)
            tokens += len(prompt)
        prompts = [self._waiting.pop(id) for id in taken]
        return [*zip(taken, map(_step, self.model.encode_ids(prompts)), strict=True)]


def _step(vector: np.ndarray) -> Step:
    if not np.isfinite(vector).all():
        return Step(None, "stop", error=EngineFailed(NOT_FINITE))
    return Step(None, "length", embedding=tuple(vector.tolist()))
