"""The core: every request gets what `generate` gives it alone, and leaves nothing behind."""

from __future__ import annotations

import copy
import json
import math
import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from bottega.engine import kernels
from bottega.engine.core import Core
from bottega.engine.request import EngineFailed, Request
from bottega.engine.settings import EngineSettings
from bottega.errors import InputError
from bottega.models.generation import Completion, generate
from bottega.models.gpt import GPT, GPTConfig
from bottega.nn.sampling_params import SamplingParams
from bottega.text.tokenizer import Tokenizer

END = 60
SETTINGS = {
    "plain": EngineSettings(),
    "few slots": EngineSettings(slots=3),
    "small cache": EngineSettings(kv_tokens=512),
    "tiny chunks, no prefixes": EngineSettings(chunk=5, prefix_cache=False),
    "speculating": EngineSettings(speculate=4, kv_tokens=512),
    "not exact": EngineSettings(exact=False),
}


@pytest.fixture(scope="module", params=["gpt2", "gpt3-banded", "modern"])
def model(request: pytest.FixtureRequest, make_model: Callable[..., GPT]) -> GPT:
    return make_model(request.param)


@pytest.fixture(scope="module")
def gpt2(make_model: Callable[..., GPT]) -> GPT:
    return make_model()


def core_of(model: GPT, settings: EngineSettings = SETTINGS["plain"]) -> Core:
    return Core(copy.deepcopy(model), END, settings)


def some_requests(n: int, seed: int = 1) -> list[Request]:
    """Prompts below and above a block, some alike, short and long answers, sharp and varied sampling."""
    draw = random.Random(seed)
    text = [draw.randrange(END) for _ in range(300)]
    requests = []
    for i in range(n):
        start = draw.choice([0, 0, draw.randrange(50)])
        prompt = text[start : start + draw.choice([1, 5, 64, 70, 200])]
        params = SamplingParams(
            seed=i,
            max_tokens=draw.choice([1, 10, 80]),
            temperature=draw.choice([0, 0.7, 1.3]),
            top_p=draw.choice([1, 0.9]),
            frequency_penalty=draw.choice([0, 0.5]),
            min_tokens=draw.choice([0, 1]),
        )
        requests.append(Request(prompt, params, choice=draw.choice([0, 3])))
    return requests


def alone(model: GPT, request: Request) -> Completion:
    """What a request gets without companions, cache blocks or chunks."""
    done = generate(model, [request.prompt], request.params, END, n=request.choice + 1)
    return done[request.choice]


@pytest.mark.parametrize("name", SETTINGS)
def test_everyone_gets_what_they_have_alone(model: GPT, name: str, run: Any) -> None:
    requests = some_requests(16)
    core = core_of(model, SETTINGS[name])
    told = run(core, requests)
    expected = [alone(model, request) for request in requests]
    assert [(t.ids, t.reason) for t in told] == [(e.ids, e.finish_reason) for e in expected]
    left = core.statistics()
    assert (left.running, left.waiting, left.kv_blocks_used) == (0, 0, 0)
    assert left.generated_tokens == sum(len(e.ids) for e in expected)
    assert left.prompt_tokens == sum(len(request.prompt) for request in requests)


@pytest.fixture(scope="module")
def answered(gpt2: GPT) -> list[tuple[list[Request], list[list[int]]]]:
    """Some sets of requests, and what each request gets alone."""
    sets = [some_requests(12, seed) for seed in range(3)]
    return [(requests, [alone(gpt2, request).ids for request in requests]) for requests in sets]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), slots=st.integers(1, 8), speculate=st.sampled_from([0, 4]))
def test_arrivals_aborts_and_preemptions_leak_nothing_and_disturb_nobody(
    gpt2: GPT, answered: list[tuple[list[Request], list[list[int]]]], seed: int, slots: int, speculate: int
) -> None:
    draw, (requests, expected) = random.Random(seed), answered[seed % len(answered)]
    core = core_of(gpt2, EngineSettings(slots=slots, speculate=speculate, kv_tokens=512))
    ids: dict[int, list[int]] = {}
    finished, aborted, coming = set(), set(), list(range(len(requests)))
    while coming or core.has_work:
        for number in coming[: draw.randrange(4)]:
            core.add(number, requests[number])
            ids[number] = []
            coming.remove(number)
        under_way = sorted(set(ids) - finished - aborted)
        if under_way and draw.random() < 0.1:
            aborted.add(gone := draw.choice(under_way))
            core.abort(gone)
        for number, step in core.step():
            assert number not in aborted | finished
            ids[number] += [step.token.id] if step.token else []
            if step.finish_reason is not None:
                finished.add(number)
    assert finished | aborted == set(range(len(requests)))
    for number, drawn in ids.items():
        whole = expected[number]
        assert drawn == (whole if number in finished else whole[: len(drawn)])
    assert core.statistics().kv_blocks_used == 0


def test_a_cache_that_is_full_preempts_the_youngest_and_repeats_nothing(gpt2: GPT, run: Any) -> None:
    endless = SamplingParams(seed=1, max_tokens=250, ignore_eos=True)
    requests = [Request([i] * 60, endless) for i in range(3)]
    core = core_of(gpt2, EngineSettings(kv_tokens=512))
    told = run(core, requests)
    assert core.statistics().preemptions > 0
    assert [t.ids for t in told] == [alone(gpt2, request).ids for request in requests]
    assert all(len(t.ids) == 250 for t in told)


def test_first_come_first_served(gpt2: GPT) -> None:
    core = core_of(gpt2, EngineSettings(slots=2))
    for number in range(5):
        core.add(number, Request([number] * 9, SamplingParams(seed=0, max_tokens=4, ignore_eos=True)))
    order = []
    while core.has_work:
        order += [number for number, step in core.step() if step.finish_reason is not None]
    assert order == [0, 1, 2, 3, 4]


def test_an_aborted_request_frees_its_blocks_at_once(gpt2: GPT) -> None:
    core = core_of(gpt2)
    core.add(7, Request([1] * 200, SamplingParams()))
    core.step()
    assert core.statistics().kv_blocks_used == 4
    core.abort(7)
    core.abort(7)
    assert (core.statistics().kv_blocks_used, core.has_work, core.step()) == (0, False, [])


def test_a_prompt_is_found_again_under_its_own_salt_only(gpt2: GPT, run: Any) -> None:
    core = core_of(gpt2)
    prompt = [i % 59 for i in range(200)]
    params = SamplingParams(temperature=0, max_tokens=3)

    def hits(salt: str) -> int:
        before = core.statistics().prefix_hit_tokens
        told = run(core, [Request(prompt, params, salt=salt)])[0]
        assert told.ids == alone(gpt2, Request(prompt, params)).ids
        return core.statistics().prefix_hit_tokens - before

    assert [hits("ada"), hits("ada"), hits("grace"), hits("")] == [0, 192, 0, 0]


def test_an_answer_is_found_again_as_the_next_prompts_beginning(gpt2: GPT, run: Any) -> None:
    core = core_of(gpt2)
    request = Request([1] * 10, SamplingParams(seed=1, max_tokens=130, ignore_eos=True))
    answer = run(core, [request])[0].ids
    run(core, [Request([*request.prompt, *answer, 5], SamplingParams(max_tokens=1))])
    assert core.statistics().prefix_hit_tokens == 128


def test_candidates_of_one_prompt_compute_it_once(gpt2: GPT, run: Any) -> None:
    prompt = [i % 59 for i in range(150)]
    params = SamplingParams(seed=4, max_tokens=20)
    core = core_of(gpt2)
    told = run(core, [Request(prompt, params, choice) for choice in range(4)])
    assert [t.ids for t in told] == [c.ids for c in generate(gpt2, [prompt], params, END, n=4)]
    assert core.statistics().prefix_hit_tokens == 3 * 149  # all but the token whose logits they draw from


@torch.no_grad()
def test_logprobs_are_raw_and_those_of_the_model(model: GPT, run: Any) -> None:
    params = SamplingParams(seed=1, max_tokens=6, temperature=1.7, top_k=30, logprobs=4)
    requests = [Request([i] * n, params) for i, n in enumerate((1, 70, 5))]
    for request, told in zip(requests, run(core_of(model), requests), strict=True):
        expected = model(torch.tensor([request.prompt + told.ids]))[0].log_softmax(-1)
        for i, token in enumerate(told.tokens):
            row = expected[len(request.prompt) - 1 + i]
            assert token.logprob == pytest.approx(float(row[token.id]), abs=1e-4)
            assert [v for _, v in token.top] == pytest.approx(row.topk(4).values.tolist(), abs=1e-4)


def test_log_probabilities_cost_time_and_come_only_where_asked_for(gpt2: GPT, run: Any) -> None:
    requests = [Request([1], SamplingParams(max_tokens=2, logprobs=n, ignore_eos=True)) for n in (None, 0)]
    without, with_none = run(core_of(gpt2), requests)
    assert [t.logprob for t in without.tokens] == [None, None]
    assert all(t.logprob is not None and t.top == () for t in with_none.tokens)


@torch.no_grad()
@pytest.mark.parametrize("chunk", [7, 128])
def test_prompt_scores(model: GPT, chunk: int, run: Any) -> None:
    """In chunks beside one who decodes, with the prompt already in the cache, and with an answer."""
    core = core_of(model, EngineSettings(chunk=chunk))
    prompts = [[i % 59 for i in range(n)] for n in (1, 64, 65, 200, 300)]
    params = SamplingParams(max_tokens=0, logprobs=1, seed=0)
    run(core, [Request(prompt, params) for prompt in prompts])
    busy = Request([3], SamplingParams(seed=1, max_tokens=100, ignore_eos=True))
    scored = [Request(prompt, params, score_prompt=True) for prompt in prompts]
    answered = Request(prompts[2], replace(params, max_tokens=2, ignore_eos=True), score_prompt=True)
    for request, told in zip([*scored, answered], run(core, [busy, *scored, answered])[1:], strict=True):
        step = told.steps[0]
        expected = model(torch.tensor([request.prompt]))[0].log_softmax(-1)
        assert [t.id for t in step.prompt] == request.prompt
        assert step.prompt[0].logprob is None
        for i, token in enumerate(step.prompt[1:]):
            assert token.logprob == pytest.approx(float(expected[i, request.prompt[i + 1]]), abs=1e-4)
            assert token.top[0][1] == pytest.approx(float(expected[i].max()), abs=1e-4)
        assert (told.reason, len(told.ids)) == ("length", request.params.max_tokens)
        assert all(step.prompt == () for step in told.steps[1:])


@torch.no_grad()
def test_embeddings_are_the_mean_of_the_last_states_of_unit_length(model: GPT, run: Any) -> None:
    prompts = [[i % 59 for i in range(n)] for n in (1, 90, 300)]
    requests = [Request(prompt, SamplingParams(max_tokens=0), embed=True) for prompt in prompts]
    busy = Request([3], SamplingParams(seed=1, max_tokens=100, ignore_eos=True))
    core = core_of(model)
    for prompt, told in zip(prompts, run(core, [busy, *requests])[1:], strict=True):
        mean = model.hidden(torch.tensor([prompt]))[0].mean(0)
        assert told.steps[0].embedding == pytest.approx((mean / mean.norm()).tolist(), abs=1e-5)
        assert (len(told.steps), told.reason) == (1, "length")
    assert [t.steps[0].embedding for t in run(core, requests)] == [  # nor do chunks change a digit
        t.steps[0].embedding for t in run(core_of(model), requests)
    ]


def test_the_end_of_the_text_comes_not_before_min_tokens_and_never_where_ignored(gpt2: GPT, run: Any) -> None:
    eager = SamplingParams(temperature=0, max_tokens=9, logit_bias={END: 100})
    requests = [
        Request([1], p) for p in (eager, replace(eager, min_tokens=4), replace(eager, ignore_eos=True))
    ]
    told = run(core_of(gpt2), requests)
    assert [(len(t.ids), t.reason) for t in told] == [(0, "stop"), (4, "stop"), (9, "length")]
    assert all(END not in t.ids for t in told)


def test_padding_of_the_vocabulary_is_never_drawn_nor_listed(gpt2: GPT, run: Any) -> None:
    tokenizer = {"model": {"vocab": {str(i): i for i in range(40)}}, "added_tokens": [{"id": 40}]}
    core = Core(copy.deepcopy(gpt2), 40, EngineSettings(), json.dumps(tokenizer))
    params = SamplingParams(seed=0, max_tokens=100, temperature=2, logprobs=20, ignore_eos=True)
    told = run(core, [Request([1], params), Request([2], replace(params, temperature=0))])
    assert all(token.id <= 40 and max(id for id, _ in token.top) <= 40 for t in told for token in t.tokens)
    with torch.no_grad():
        expected = gpt2(torch.tensor([[1]]))[0, -1].log_softmax(-1)  # raw: the padding has its mass
    token = told[0].tokens[0]
    assert token.logprob == pytest.approx(float(expected[token.id]), abs=1e-4)


def test_what_does_not_fit_is_refused(gpt2: GPT) -> None:
    with pytest.raises(InputError, match="exceed the context of 512"):
        core_of(gpt2).add(0, Request([1] * 500, SamplingParams(max_tokens=13)))
    small = core_of(gpt2, EngineSettings(kv_tokens=128))
    assert small.context_length == 128
    with pytest.raises(InputError, match="exceed the context of 128"):
        small.add(0, Request([1] * 128, SamplingParams()))
    assert not small.has_work


def test_without_max_tokens_it_goes_on_to_the_contexts_end(gpt2: GPT, run: Any) -> None:
    told = run(
        core_of(gpt2, EngineSettings(kv_tokens=128)), [Request([1] * 28, SamplingParams(ignore_eos=True))]
    )
    assert (len(told[0].ids), told[0].reason) == (100, "length")


def test_a_failing_step_empties_the_core_and_the_next_is_served(gpt2: GPT, run: Any) -> None:
    core = core_of(gpt2)
    whole, prompt = core.model.norm, [1] * 100
    core.add(0, Request(prompt, SamplingParams()))
    core.model.norm = torch.nn.LayerNorm(7)
    with pytest.raises(RuntimeError, match="shape"):
        core.step()
    assert not core.has_work
    core.model.norm = whole
    params = SamplingParams(temperature=0, max_tokens=3)
    assert run(core, [Request(prompt, params)])[0].ids == alone(gpt2, Request(prompt, params)).ids
    assert core.statistics().prefix_hit_tokens == 0  # nothing that may be broken is kept


@pytest.mark.parametrize(
    ("shape", "name", "with_kernels"),
    [
        ("modern", "plain", True),
        ("modern", "plain", False),
        ("modern", "speculating", True),
        ("modern", "not exact", True),
        ("gpt3-banded", "small cache", True),
    ],
)
def test_a_broken_token_fails_those_who_have_it_and_nobody_else(
    make_model: Any, run: Any, monkeypatch: Any, shape: str, name: str, with_kernels: bool
) -> None:
    if not with_kernels:
        monkeypatch.setattr(kernels, "compiled", lambda: None)
    healthy = make_model(shape) if shape == "modern" else make_model(shape, tied=False)
    requests = some_requests(8)
    expected = [alone(healthy, request) for request in requests]
    damaged = copy.deepcopy(healthy)
    with torch.no_grad():
        damaged.tok_emb.weight[END] = math.nan  # which none of the others' prompts holds
    core = core_of(damaged, SETTINGS[name])
    longest = max((request.prompt for request in requests), key=len)
    # They begin like others' prompts, and the last one's end is read in another chunk than its beginning.
    params = SamplingParams(max_tokens=3)
    broken = [Request([*longest[:n], END, 1], params) for n in (0, 60, 150)]
    broken += [Request([*longest, *longest, END, 1], params), replace(broken[1], score_prompt=True)]
    for _ in range(2):  # what the broken ones leave in the cache does no harm
        told = run(core, [*broken, *requests])
        for one in told[: len(broken)]:
            assert (len(one.steps), type(one.steps[0].error)) == (1, EngineFailed)
        assert [(t.ids, t.reason) for t in told[len(broken) :]] == [
            (e.ids, e.finish_reason) for e in expected
        ]
    assert core.statistics().kv_blocks_used == 0


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_what_a_broken_step_computed_is_found_by_nobody(
    gpt2: GPT, run: Any, monkeypatch: Any, factor: float
) -> None:
    core = core_of(gpt2, EngineSettings())
    request = Request([n % 50 for n in range(150)], SamplingParams(max_tokens=3, temperature=0))
    hidden = core.model.hidden
    with monkeypatch.context() as patch:
        patch.setattr(core.model, "hidden", lambda *args: hidden(*args) * factor)
        assert isinstance(run(core, [request])[0].steps[0].error, EngineFailed)
    assert run(core, [request])[0].ids == alone(gpt2, request).ids
    assert core.statistics().prefix_hit_tokens == 0


def test_a_row_whose_logits_alone_are_broken_fails_alone(gpt2: GPT, run: Any) -> None:
    core = core_of(gpt2, EngineSettings(speculate=3))
    bias = {5: 0.0}
    params = SamplingParams(temperature=0, max_tokens=30, ignore_eos=True, seed=0)
    requests = [Request([n] * 70, params) for n in range(3)]
    requests[1] = replace(requests[1], params=replace(params, logit_bias=bias))
    bias[5] = math.nan  # as it stands no request brings it in
    told = run(core, requests)
    assert [t.ids for t in (told[0], told[2])] == [alone(gpt2, requests[n]).ids for n in (0, 2)]
    assert "finite" in str(told[1].steps[-1].error)
    assert (core.statistics().kv_blocks_used, core.has_work) == (0, False)


@pytest.mark.parametrize("weights", ["bf16", "int8", "int4"])
def test_smaller_weights_give_nearly_the_same_model(make_model: Any, weights: Any, run: Any) -> None:
    model = make_model(n_embd=64)
    prompt = [i % 59 for i in range(100)]
    core = core_of(model, EngineSettings(weights=weights))
    request = Request(prompt, SamplingParams(max_tokens=0, logprobs=0), score_prompt=True)
    scores = [token.logprob for token in run(core, [request])[0].steps[0].prompt[1:]]
    with torch.no_grad():
        rows = model(torch.tensor([prompt]))[0].log_softmax(-1)
    expected = rows[:-1].gather(-1, torch.tensor(prompt[1:])[:, None]).mean()
    off = {"bf16": 0.02, "int8": 0.05, "int4": 0.5}[weights]
    assert sum(scores) / 99 == pytest.approx(float(expected), abs=off)


def test_a_grammar_is_followed_beside_one_who_has_none(run: Any) -> None:
    tokenizer = Tokenizer.train(['a plain text with 12 numbers, {braces} and "quotes"'], 262)
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=320, context_length=128, n_layer=1, n_head=1, n_embd=16))  # padded
    core = Core(model.eval(), tokenizer.end_of_text, EngineSettings(speculate=3), tokenizer.to_json())
    grammar = LLMatcher.grammar_from_regex(r"\{[0-9]{2}\}x?")
    params = [SamplingParams(seed=i, max_tokens=20, min_tokens=9) for i in range(6)]
    free = [Request([5, 6], one) for one in params]
    bound = [Request([5, 6], one, grammar=grammar) for one in params]
    told = run(core, [*free, *bound])
    for one in told[6:]:
        assert re.fullmatch(r"\{[0-9]{2}\}x?", tokenizer.decode(one.ids))
        assert one.reason == "stop"
    assert [t.ids for t in run(core, free)] == [t.ids for t in told[:6]]


@pytest.fixture(scope="module")
def writer() -> tuple[Tokenizer, Core]:
    """A core that follows grammars."""
    tokenizer = Tokenizer.train(["a plain text"], 262)
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, context_length=128, n_layer=1, n_head=1, n_embd=16))
    return tokenizer, Core(model.eval(), tokenizer.end_of_text, EngineSettings(), tokenizer.to_json())


def test_a_sentence_whole_at_the_last_token_has_ended(writer: tuple[Tokenizer, Core], run: Any) -> None:
    grammar = LLMatcher.grammar_from_regex("[0-9]{2,}")
    for max_tokens, reason in ((1, "length"), (2, "stop"), (7, "stop")):
        params = SamplingParams(seed=3, max_tokens=max_tokens)
        assert run(writer[1], [Request([5], params, grammar=grammar)])[0].reason == reason


def test_a_grammar_beyond_the_limits_fails_its_own_request(writer: tuple[Tokenizer, Core], run: Any) -> None:
    rules = "\n".join(f'r{i}: "a" "b{i}"' for i in range(800))  # all of them are possible after the a
    lark = 'start: "a" (' + " | ".join(f"r{i}" for i in range(800)) + ")\n" + rules
    params = SamplingParams(seed=1, max_tokens=8, ignore_eos=True)
    request = Request([5], params)
    tangled = replace(request, grammar=LLMatcher.grammar_from_lark(lark))
    failed, free = run(writer[1], [tangled, request])
    assert failed.steps[-1].token is None
    assert "500" in str(failed.steps[-1].error)  # what the library says of it
    assert (len(free.ids), free.reason, free.steps[-1].error) == (8, "length", None)


def test_stop_tokens_end_the_text_but_not_too_early(gpt2: GPT, run: Any) -> None:
    core, likely = core_of(gpt2), {11: 9, 12: 9}
    free = SamplingParams(seed=2, max_tokens=12, logit_bias=likely)
    params = [free, replace(free, stop_tokens=(11, 12)), replace(free, stop_tokens=(11, 12), min_tokens=5)]
    params.append(replace(params[1], ignore_eos=True))
    drawn, ended, later, never = run(core, [Request([5, 6], one) for one in params])
    first = next(i for i, id in enumerate(drawn.ids) if id in (11, 12))
    assert (ended.ids, ended.reason) == (drawn.ids[:first], "stop")
    assert len(later.ids) >= 5 and not {11, 12} & {*later.ids}
    assert len(never.ids) == 12 and not {11, 12} & {*never.ids}
    with pytest.raises(InputError, match="vocabulary"):
        core.add(0, Request([5], SamplingParams(stop_tokens=(10**6,))))


def test_the_first_step_tells_how_much_was_cached(gpt2: GPT, run: Any) -> None:
    core = core_of(gpt2)
    request = Request([i % 50 for i in range(100)], SamplingParams(max_tokens=2, ignore_eos=True))
    told = [run(core, [request])[0] for _ in range(2)]
    assert [[step.cached for step in one.steps] for one in told] == [[0, 0], [64, 0]]


def test_a_grammar_needs_a_tokenizer(gpt2: GPT) -> None:
    with pytest.raises(InputError, match="needs a tokenizer"):
        core_of(gpt2).add(0, Request([1], SamplingParams(), grammar="{}"))
