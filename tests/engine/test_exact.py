"""Exactness: a request's log-probabilities have the same bits whatever happens to it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from bottega.engine.core import Core
from bottega.engine.request import Request
from bottega.engine.settings import EngineSettings
from bottega.models.gpt import GPT
from bottega.nn.sampling_params import SamplingParams
from bottega.nn.steps import Token

END = 60
WEIGHTS = ("fp32", "bf16", "int8")
PROMPT = [(i * i) % 59 for i in range(150)]
# Tokens that are favoured come back in the same order now and then: there is something to look up.
PARAMS = SamplingParams(seed=3, max_tokens=40, logprobs=5, logit_bias={3: 9, 4: 9}, ignore_eos=True)
REQUEST = Request(PROMPT, PARAMS)


@pytest.fixture(scope="module", params=["gpt2", "gpt3-banded", "modern"])
def model(request: pytest.FixtureRequest, make_model: Callable[..., GPT]) -> GPT:
    # Widths that leave something over in every vector; a tensor large enough to be shared among threads.
    return make_model(request.param, n_embd=68, n_inner=150, n_head=2)


def core_of(model: GPT, weights: Any, **settings: Any) -> Core:
    return Core(copy.deepcopy(model), END, EngineSettings(weights=weights, exact=True, **settings))


def companions(n: int) -> list[Request]:
    params = [SamplingParams(seed=i, max_tokens=20 + i, temperature=i % 2, ignore_eos=True) for i in range(n)]
    return [Request([i % 59] * (1 + 5 * i), p, salt="others") for i, p in enumerate(params)]


@pytest.fixture(scope="module", params=WEIGHTS)
def alone(model: GPT, request: pytest.FixtureRequest, run: Any) -> tuple[str, list[Token]]:
    """The kind of weights, and what the request gets when nothing else happens."""
    return request.param, run(core_of(model, request.param), [REQUEST])[0].tokens


def test_among_32(model: GPT, alone: tuple[str, list[Token]], run: Any) -> None:
    told = run(core_of(model, alone[0]), [*companions(16), REQUEST, *companions(15)])
    assert told[16].tokens == alone[1]


def test_on_a_prefix_hit(model: GPT, alone: tuple[str, list[Token]], run: Any) -> None:
    core = core_of(model, alone[0])
    run(core, [Request(PROMPT, SamplingParams(max_tokens=1))])
    assert run(core, [REQUEST])[0].tokens == alone[1]
    assert core.statistics().prefix_hit_tokens == 128


def test_on_a_copy_of_a_running_ones_block(model: GPT, alone: tuple[str, list[Token]], run: Any) -> None:
    core = core_of(model, alone[0])
    assert run(core, [REQUEST, REQUEST])[1].tokens == alone[1]
    assert core.statistics().prefix_hit_tokens == 149


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_chunked(model: GPT, alone: tuple[str, list[Token]], chunk: int) -> None:
    busy = Request([5], SamplingParams(seed=1, max_tokens=200, ignore_eos=True))
    core = core_of(model, alone[0], chunk=chunk)
    core.add(0, busy)
    core.step()  # from now on prompts are read in chunks
    core.add(1, REQUEST)
    steps = []
    while core.has_work:
        steps += [step for number, step in core.step() if number == 1]
    assert [step.token for step in steps] == alone[1]


def test_preempted(model: GPT, alone: tuple[str, list[Token]], run: Any) -> None:
    core = core_of(model, alone[0], kv_tokens=320)
    older = [Request([i] * 60, SamplingParams(seed=i, max_tokens=80, ignore_eos=True)) for i in range(2)]
    assert run(core, [*older, REQUEST])[2].tokens == alone[1]
    assert core.statistics().preemptions > 0


def test_speculated(model: GPT, alone: tuple[str, list[Token]], run: Any) -> None:
    core = core_of(model, alone[0], speculate=5)
    assert run(core, [REQUEST])[0].tokens == alone[1]
    assert core.statistics().drafted > 0


def test_scores_of_a_prompt_are_those_of_drawing_it(
    model: GPT, alone: tuple[str, list[Token]], run: Any
) -> None:
    kind, drawn = alone
    text = PROMPT + [token.id for token in drawn]
    scored = Request(text, SamplingParams(max_tokens=0, logprobs=5), score_prompt=True)
    told = run(core_of(model, kind), [*companions(3), scored])[3]
    assert list(told.steps[0].prompt[len(PROMPT) :]) == drawn
