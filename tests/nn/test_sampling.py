"""The sampling rule against hand-computed cases, transformers' processors and its own law."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.errors import InputError, WorkError
from bottega.nn.sampling import Row, choose, raw_logprobs, uniform
from bottega.nn.sampling_params import SamplingParams


def draws(probabilities: list[float], params: SamplingParams, n: int = 4000, **row: list[int]) -> list[float]:
    """Relative frequencies of `n` draws at n different choices."""
    logits = torch.tensor(probabilities).log().clamp(min=-1e4).expand(n, -1)
    rows = [
        Row(row.get("prompt", [0]), params, choice, output=list(row.get("output", []))) for choice in range(n)
    ]
    chosen = torch.tensor(choose(logits, rows))
    return (torch.bincount(chosen, minlength=len(probabilities)) / n).tolist()


BASE = SamplingParams(seed=7)


def test_draws_follow_the_distribution() -> None:
    probabilities = [0.5, 0.3, 0.15, 0.05]
    seen = draws(probabilities, BASE)
    for p, frequency in zip(probabilities, seen, strict=True):
        assert abs(p - frequency) < 4 * math.sqrt(p * (1 - p) / 4000)


def test_temperature_sharpens() -> None:
    seen = draws([0.6, 0.4], replace(BASE, temperature=0.5))
    assert abs(seen[0] - 0.36 / 0.52) < 0.03


def test_zero_temperature_is_greedy_with_the_lower_id_among_equals() -> None:
    rows = [Row([0], SamplingParams(temperature=0, seed=s)) for s in range(5)]
    assert choose(torch.tensor([[1.0, 3.0, 3.0, 2.0]]).expand(5, -1), rows) == [1] * 5


@pytest.mark.parametrize(
    ("params", "support"),
    [
        (replace(BASE, top_k=2), {0, 1}),
        (replace(BASE, top_k=99), {0, 1, 2, 3}),
        (replace(BASE, top_p=0.75), {0, 1}),
        (replace(BASE, top_p=0.0), {0}),
        (replace(BASE, top_p=0.85), {0, 1, 2}),
        (replace(BASE, min_p=0.25), {0, 1, 2}),
        (replace(BASE, min_p=1.0), {0}),
        # top-p counts over what top-k left: of {.5, .3} renormalised the first alone has 0.625
        (replace(BASE, top_k=2, top_p=0.6), {0}),
        (replace(BASE, logit_bias={3: 100}), {3}),
        (replace(BASE, logit_bias={0: -100, 1: -100}), {2, 3}),
    ],
)
def test_truncation_keeps_exactly_its_support(params: SamplingParams, support: set[int]) -> None:
    seen = draws([0.5, 0.3, 0.14, 0.06], params, n=600)
    assert {i for i, frequency in enumerate(seen) if frequency} == support


def test_penalties_by_hand() -> None:
    logits = torch.tensor([[2.0, -1.0, 1.9, 1.8]])

    def greedy(output: list[int], prompt: list[int], **penalty: float) -> int:
        return choose(logits, [Row(prompt, SamplingParams(temperature=0, **penalty), output=output)])[0]

    assert greedy([], [0], repetition_penalty=1.1) == 2  # 2.0/1.1 < 1.9: the prompt counts
    assert greedy([], [0], presence_penalty=1.0) == 0  # the prompt does not count
    assert greedy([0], [3], presence_penalty=0.15) == 2
    assert greedy([0, 2, 2], [3], frequency_penalty=0.07) == 0  # 1.93, 1.76, 1.80
    assert greedy([0, 0, 2], [3], frequency_penalty=0.12) == 3  # 1.76, 1.78, 1.80
    assert greedy([1], [3], repetition_penalty=2.0) == 0
    lifted = choose(
        torch.tensor([[-1.0, -1.5]]), [Row([0], SamplingParams(temperature=0, repetition_penalty=2.0))]
    )
    assert lifted == [1]  # a negative logit becomes more negative


def test_same_rule_as_transformers() -> None:
    """Temperature, then top-k, top-p and min-p: the supports and masses that their processors leave."""
    from transformers.generation import logits_process as hf

    torch.manual_seed(0)
    prompt = torch.tensor([[3, 5, 5, 8]])
    for temperature, k, p, m, r in [
        (0.7, 12, 0.9, 0.05, 1.3),
        (1.5, 0, 0.8, 0.0, 1.0),
        (1.0, 5, 1.0, 0.2, 1.7),
    ]:
        logits = 3 * torch.randn(1, 40)
        processors = [hf.RepetitionPenaltyLogitsProcessor(r), hf.TemperatureLogitsWarper(temperature)]
        processors += [hf.TopKLogitsWarper(k)] if k else []
        processors += [hf.TopPLogitsWarper(p), hf.MinPLogitsWarper(m)]
        theirs = logits
        for process in processors:
            theirs = process(prompt, theirs)
        expected = theirs.softmax(-1)[0]
        params = SamplingParams(
            temperature=temperature, top_k=k, top_p=p, min_p=m, repetition_penalty=r, seed=1
        )
        rows = [Row(prompt[0].tolist(), params, choice) for choice in range(6000)]
        seen = torch.bincount(torch.tensor(choose(logits.expand(6000, -1), rows)), minlength=40) / 6000
        assert not seen[expected == 0].any()
        assert (seen - expected).abs().max() < 0.03


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**31), st.data())
def test_a_row_does_not_depend_on_its_companions(n: int, seed: int, data: st.DataObject) -> None:
    params = [
        SamplingParams(
            temperature=data.draw(st.sampled_from([0.0, 0.5, 1.0, 2.0])),
            top_k=data.draw(st.sampled_from([0, 1, 7, 500])),
            top_p=data.draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])),
            min_p=data.draw(st.sampled_from([0.0, 0.1])),
            frequency_penalty=data.draw(st.sampled_from([0.0, 1.5])),
            seed=data.draw(st.integers(-(2**63), 2**63 - 1)),
        )
        for _ in range(n)
    ]
    logits = torch.randn(n, 300, generator=torch.Generator().manual_seed(seed))
    rows = [Row([i], p, choice=i, output=[i, 2]) for i, p in enumerate(params)]
    together = choose(logits, rows)
    assert together == [choose(logits[i : i + 1], rows[i : i + 1])[0] for i in range(n)]


def test_noise_is_fixed_for_good_and_differs_by_every_part_of_its_key() -> None:
    numbers = {uniform(s, c, p) for s in range(-3, 3) for c in range(3) for p in range(50)}
    assert len(numbers) == 6 * 3 * 50
    assert all(0 <= number < 1 for number in numbers)
    mean = sum(uniform(11, 0, p) for p in range(4000)) / 4000
    assert abs(mean - 0.5) < 0.02
    assert uniform(42, 1, 5) == pytest.approx(0.38367463872550445)  # published results stay reproducible


def test_extreme_logits() -> None:
    spread = torch.tensor([[0.0, -1e4, 1e4, -50.0]])
    assert choose(spread, [Row([0], BASE)]) == [2]
    for broken in (math.nan, math.inf):
        with pytest.raises(WorkError, match="not finite"):
            choose(torch.tensor([[0.0, broken]]), [Row([0], BASE)])


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("temperature", -0.1, "temperature must be a number from 0 to 2, not -0.1"),
        ("temperature", math.nan, "temperature must be a number from 0 to 2, not nan"),
        ("top_k", -1, "top_k must be a whole number of at least 0, not -1"),
        ("top_k", True, "top_k"),
        ("top_p", 1.01, "top_p must be a number from 0 to 1, not 1.01"),
        ("min_p", math.inf, "min_p"),
        ("repetition_penalty", 0.0, "repetition_penalty"),
        ("presence_penalty", 2.1, "presence_penalty must be a number from -2 to 2, not 2.1"),
        ("frequency_penalty", -2.1, "frequency_penalty"),
        ("logit_bias", {3: 101}, "logit_bias of token 3 must be a number from -100 to 100, not 101"),
        ("logit_bias", {-3: 1}, "logit_bias token"),
        ("seed", 2**63, "seed"),
        ("max_tokens", -1, "max_tokens"),
        ("logprobs", 21, "logprobs must be a whole number from 0 to 20, not 21"),
    ],
)
def test_a_wrong_value_is_named_with_its_range(field: str, value: object, said: str) -> None:
    with pytest.raises(InputError) as caught:
        SamplingParams(**{field: value})
    assert said in str(caught.value)


def test_raw_logprobs_are_the_models_own() -> None:
    probabilities = torch.tensor([[0.5, 0.2, 0.3]])
    chosen, top = raw_logprobs(probabilities.log() + 5, [1], 2)
    assert chosen == pytest.approx([math.log(0.2)], abs=1e-6)
    assert [i for i, _ in top[0]] == [0, 2]
    assert [v for _, v in top[0]] == pytest.approx([math.log(0.5), math.log(0.3)], abs=1e-6)
    assert raw_logprobs(probabilities, [1], 0)[1] == [[]]


def test_the_end_of_the_text_is_kept_out_until_it_may_come() -> None:
    logits = torch.tensor([[0.0, 1.0, 9.0]]).expand(4, -1)
    early = SamplingParams(temperature=0, min_tokens=2)
    rows = [
        Row([0], early, output=[1]),
        Row([0], early, output=[1, 1]),
        Row([0], SamplingParams(temperature=0, ignore_eos=True), output=[1] * 50),
        Row([0], SamplingParams(temperature=1, min_tokens=1, seed=3)),
    ]
    assert choose(logits, rows, 2)[:3] == [1, 2, 1]
    assert choose(logits, rows, 2)[3] != 2
    assert choose(logits, rows) == [2, 2, 2, 2]  # nobody says which token is the end


def test_a_grammar_decides_alone() -> None:
    logits = torch.tensor([[0.0, 1.0, 9.0]]).expand(3, -1)
    params = SamplingParams(temperature=0, min_tokens=2, logit_bias={1: 50})
    only_first, only_end = torch.tensor([True, False, False]), torch.tensor([False, False, True])
    rows = [Row([0], params), Row([0], params), Row([0], params)]
    assert choose(logits, rows, 2, {0: only_first, 2: only_end}) == [0, 1, 2]


def test_top_p_beyond_the_likeliest_is_as_exact() -> None:
    """A flat distribution over 5,000 tokens: p = 0.9 keeps the likeliest 4,500."""
    logits = torch.linspace(0.001, 0, 5000).expand(300, -1)
    rows = [Row([0], SamplingParams(seed=1, top_p=0.9), choice) for choice in range(300)]
    drawn = choose(logits, rows)
    assert max(drawn) < 4502
    assert max(drawn) > 4300
    assert min(drawn) < 200


def test_unlikely_tokens_of_a_large_vocabulary_are_drawn_as_often_as_they_should() -> None:
    """Half the mass on one token, the other half on 50,000 of 1e-5 each."""
    logits = torch.full((4000, 50001), math.log(1e-5))
    logits[:, 25000] = math.log(0.5)
    drawn = choose(logits, [Row([0], BASE, choice) for choice in range(4000)])
    others = [token for token in drawn if token != 25000]
    assert abs(len(others) / 4000 - 0.5) < 0.03
    assert abs(sum(token < 25000 for token in others) / len(others) - 0.5) < 0.05


def test_only_tokens_of_the_tokenizer_are_listed() -> None:
    logprob, top = raw_logprobs(torch.tensor([[0.0, 1.0, 5.0]]), [1], 3, 2)
    assert [i for i, _ in top[0]] == [1, 0]
    assert logprob[0] < -4  # the padding has its mass: what is listed is the model's own
