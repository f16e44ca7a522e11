"""Speculation by look-up: right drafts save passes, and what is drawn is the same with and without them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from bottega.engine.core import Core
from bottega.engine.lookup import Lookup
from bottega.engine.request import Request
from bottega.engine.settings import EngineSettings
from bottega.models.gpt import GPT
from bottega.nn.sampling_params import SamplingParams

END = 60
VARIED = {
    "greedy": {"temperature": 0},
    "warm": {"temperature": 0.8},
    "truncated": {"temperature": 1.2, "top_k": 9, "top_p": 0.9, "min_p": 0.02},
    "penalised": {"temperature": 0.5, "presence_penalty": 0.4, "repetition_penalty": 1.1},
    "biased": {"temperature": 0.7, "logit_bias": {3: 4, END: -100}, "min_tokens": 30},
}  # fmt: skip


@pytest.fixture(scope="module")
def model(make_model: Any) -> GPT:
    return make_model()


def test_the_latest_earlier_occurrence_is_continued() -> None:
    lookup, text = Lookup(), [1, 2, 3, 7, 1, 2, 3, 8, 9]
    assert lookup.continuation(text, 4) == []
    text += [1, 2]
    assert lookup.continuation(text, 4) == []
    text += [3]
    assert lookup.continuation(text, 2) == [8, 9]
    assert lookup.continuation(text, 7) == [8, 9, 1, 2, 3, 8, 9]  # it goes round


def test_short_texts_have_no_drafts() -> None:
    lookup = Lookup()
    assert [lookup.continuation([5] * n, 3) for n in range(4)] == [[], [], [], []]
    assert lookup.continuation([5] * 4, 3) == [5, 5, 5]


@pytest.mark.parametrize("name", VARIED)
def test_the_same_is_drawn_with_and_without(model: GPT, name: str, run: Any) -> None:
    params = [SamplingParams(seed=i, max_tokens=90, logprobs=2, **VARIED[name]) for i in range(4)]
    prompts = [[1, 2, 3, 4] * 20, [7] * 30, list(range(59)), [5, 6]]
    requests = [Request(p, q) for p, q in zip(prompts, params, strict=True)]
    without = run(Core(copy.deepcopy(model), END, EngineSettings(exact=True)), requests)
    core = Core(copy.deepcopy(model), END, EngineSettings(exact=True, speculate=5))
    assert [t.steps for t in run(core, requests)] == [t.steps for t in without]
    assert core.statistics().drafted > 0
    assert core.statistics().generated_tokens == sum(len(t.ids) for t in without)


def test_right_drafts_save_passes(model: GPT, run: Any) -> None:
    """A bias that makes the model repeat one token: from its third on every draft is right."""
    params = SamplingParams(temperature=0, max_tokens=83, logit_bias={9: 100})
    core, passes = Core(copy.deepcopy(model), END, EngineSettings(speculate=4)), 0
    core.add(0, Request([1, 9, 9, 9], params))
    ids: list[int] = []
    while core.has_work:
        passes += 1
        ids += [step.token.id for _, step in core.step() if step.token]
    told = core.statistics()
    assert ids == [9] * 83
    assert told.accepted == told.drafted == 83 - passes
    assert passes < 25
    assert told.kv_blocks_used == 0


def test_no_draft_beyond_what_may_be_drawn(model: GPT, run: Any) -> None:
    core = Core(copy.deepcopy(model), END, EngineSettings(speculate=8, kv_tokens=64))
    told = run(
        core, [Request([9] * 60, SamplingParams(temperature=0, ignore_eos=True, logit_bias={9: 100}))]
    )[0]
    assert (told.ids, told.reason) == ([9] * 4, "length")
