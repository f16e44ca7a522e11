"""Generation with the KV cache: against the model without one, and rows against themselves alone."""

from __future__ import annotations

import pytest
import torch

from bottega.errors import InputError
from bottega.models.generation import Batch, generate, stream
from bottega.models.gpt import GPT, GPTConfig
from bottega.nn.sampling import Row
from bottega.nn.sampling_params import SamplingParams

END = 96
SHAPES = {
    "gpt2": {},
    "gpt3-banded": {"band": 3},
    "modern": {
        "norm": "rmsnorm", "positions": "rotary", "mlp": "swiglu", "qk_norm": True, "n_kv_head": 2,
        "tied": False, "attention_bias": False, "mlp_bias": False,
    },
}  # fmt: skip


@pytest.fixture(params=SHAPES)
def model(request: pytest.FixtureRequest) -> GPT:
    torch.manual_seed(1)
    shape = {"vocab_size": 97, "context_length": 40, "n_layer": 3, "n_head": 4, "n_embd": 32}
    gpt = GPT(GPTConfig(**shape, **SHAPES[request.param]))
    with torch.no_grad():  # far from uniform, so that greedy choices are not near ties
        for parameter in gpt.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return gpt.eval()


@pytest.fixture
def prompts() -> list[list[int]]:
    draw = torch.Generator().manual_seed(2)
    return [torch.randint(0, 96, (n,), generator=draw).tolist() for n in (1, 17, 5, 24, 2)]


@torch.no_grad()
def greedy_without_cache(model: GPT, prompt: list[int], n: int) -> list[int]:
    ids = list(prompt)
    while len(ids) < len(prompt) + n:
        token = int(model(torch.tensor([ids]))[0, -1].argmax())
        if token == END:
            break
        ids.append(token)
    return ids[len(prompt) :]


def test_greedy_equals_the_model_without_cache(model: GPT, prompts: list[list[int]]) -> None:
    done = generate(model, prompts, SamplingParams(temperature=0, max_tokens=12), END)
    assert [c.ids for c in done] == [greedy_without_cache(model, p, 12) for p in prompts]


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=0, max_tokens=14),
        SamplingParams(seed=3, max_tokens=14),
        SamplingParams(seed=3, max_tokens=14, temperature=1.4, top_k=20, top_p=0.9, frequency_penalty=0.5),
    ],
)
def test_a_batch_gives_each_prompt_what_it_has_alone(
    model: GPT, prompts: list[list[int]], params: SamplingParams
) -> None:
    together = generate(model, prompts, params, END, n=2)
    alone = [c for prompt in prompts for c in generate(model, [prompt], params, END, n=2)]
    assert [(c.ids, c.finish_reason) for c in together] == [(c.ids, c.finish_reason) for c in alone]


def test_rows_that_join_and_leave_midway_have_what_they_have_alone(
    model: GPT, prompts: list[list[int]]
) -> None:
    params = SamplingParams(seed=5, max_tokens=10)
    alone = [c.ids for c in generate(model, prompts, params, END)]
    batch, rows = Batch(model, END, slots=3), [Row(p, params) for p in prompts]
    waiting = list(rows)
    while waiting or batch.rows:
        if waiting and len(batch.rows) < 3:
            batch.join([waiting.pop(0)])
        if batch.rows:
            batch.step()
    assert [row.output for row in rows] == alone


def test_leaving_frees_the_slot_and_disturbs_nobody(model: GPT, prompts: list[list[int]]) -> None:
    params = SamplingParams(seed=5, max_tokens=10)
    alone = [c.ids for c in generate(model, prompts, params, END)]
    batch, rows = Batch(model, END, slots=5), [Row(p, params) for p in prompts]
    batch.join(rows)
    batch.step()
    for gone in (rows[0], rows[2]):
        if gone in batch.rows:
            batch.leave(gone)
    while batch.rows:
        batch.step()
    assert [rows[i].output for i in (1, 3, 4)] == [alone[i] for i in (1, 3, 4)]


def test_logprobs_are_raw_and_those_of_the_model(model: GPT, prompts: list[list[int]]) -> None:
    params = SamplingParams(seed=1, max_tokens=6, temperature=1.7, top_k=30, logprobs=4)
    for prompt, done in zip(prompts, generate(model, prompts, params, END), strict=True):
        with torch.no_grad():
            expected = model(torch.tensor([prompt + done.ids]))[0].log_softmax(-1)
        for i, (token, logprob, top) in enumerate(
            zip(done.ids, done.logprobs, done.top_logprobs, strict=True)
        ):
            row = expected[len(prompt) - 1 + i]
            assert logprob == pytest.approx(float(row[token]), abs=1e-4)
            assert [v for _, v in top] == pytest.approx(row.topk(4).values.tolist(), abs=1e-4)


@torch.no_grad()
def test_prompt_scores(model: GPT, prompts: list[list[int]]) -> None:
    rows = [Row(p, SamplingParams(max_tokens=0, logprobs=1, seed=0), score_prompt=True) for p in prompts]
    steps = Batch(model, END, slots=len(rows)).join(rows)
    for prompt, (row, step) in zip(prompts, steps, strict=True):
        assert (step.token, step.finish_reason, row.output) == (None, "length", [])
        expected = model(torch.tensor([prompt]))[0].log_softmax(-1)
        assert [t.id for t in step.prompt] == prompt
        assert step.prompt[0].logprob is None
        for i, token in enumerate(step.prompt[1:]):
            assert token.logprob == pytest.approx(float(expected[i, prompt[i + 1]]), abs=1e-4)


def test_end_of_text_ends_the_row_and_is_not_part_of_it(model: GPT) -> None:
    done = generate(model, [[1, 2]], SamplingParams(logit_bias={END: 100}, max_tokens=5), END)[0]
    assert (done.ids, done.finish_reason) == ([], "stop")
    full = generate(model, [[1, 2]], SamplingParams(logit_bias={END: -100}, temperature=0), END)[0]
    assert (len(full.ids), full.finish_reason) == (38, "length")  # without max_tokens: to the context's end


def test_streaming_gives_the_same_tokens_one_by_one(model: GPT, prompts: list[list[int]]) -> None:
    params = SamplingParams(seed=9, max_tokens=7, logit_bias={END: -100})
    whole = generate(model, prompts, params, END)
    streamed: dict[int, list[int]] = {}
    order = []
    for i, step in stream(model, prompts, params, END):
        assert step.token is not None
        streamed.setdefault(i, []).append(step.token.id)
        order.append(i)
    assert [streamed[i] for i in range(len(prompts))] == [c.ids for c in whole]
    assert order == list(range(len(prompts))) * 7


def test_a_seed_repeats_and_none_does_not(model: GPT) -> None:
    seeded = SamplingParams(seed=4, max_tokens=20, temperature=2.0)
    first, again = (generate(model, [[1]], seeded, END)[0].ids for _ in range(2))
    assert first == again
    free = SamplingParams(max_tokens=20, temperature=2.0)
    assert len({tuple(c.ids) for c in generate(model, [[1]] * 4, free, END)}) > 1
    assert len({tuple(c.ids) for c in generate(model, [[1]], seeded, END, n=4)}) == 4


def test_training_mode_is_left_as_it_was(model: GPT) -> None:
    model.train()
    generate(model, [[1]], SamplingParams(max_tokens=2), END)
    assert model.training


@pytest.mark.parametrize(
    ("prompt", "params", "said"),
    [
        ([], SamplingParams(), "holds no token"),
        ([1] * 30, SamplingParams(max_tokens=11), "prompt of 30 tokens and 11 more exceed the context of 40"),
        ([1] * 40, SamplingParams(), "exceed the context of 40"),
        ([97], SamplingParams(), "token 97 is not in the vocabulary; ids run from 0 to 96"),
        ([-1], SamplingParams(), "token -1"),
        ([1], SamplingParams(logit_bias={97: 1}), "token 97"),
    ],
)
def test_what_does_not_fit_is_refused(
    model: GPT, prompt: list[int], params: SamplingParams, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        stream(model, [[1], prompt], [SamplingParams(max_tokens=1), params], END)
    assert said in str(caught.value)


def test_nothing_asked_nothing_done(model: GPT) -> None:
    assert generate(model, [], SamplingParams(), END) == []
