"""Every field of the completions request in its accepted and its refused values, by the stock client."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from bottega.text.tokenizer import Tokenizer

LONG = 10**30
ACCEPTED: dict[str, list[Any]] = {
    "prompt": ["", "a", "你好", ["a", ""], [5], [5, 6], [[5], [6, 7]], None],
    "suffix": ["", None],
    "max_tokens": [0, 1, 900, None],
    "temperature": [0, 0.0, 1, 2, None],
    "top_p": [0, 0.5, 1, None],
    "n": [1, 128, None],
    "best_of": [0, 1, 20, None],
    "stream": [False, None],
    "logprobs": [0, 5, None],
    "echo": [True, False, None],
    "stop": ["\n", ["a"], ["a", "b", "c", "你"], [], None],
    "presence_penalty": [-2, 0.5, 2, None],
    "frequency_penalty": [-2, 0.5, 2, None],
    "logit_bias": [{}, {"5": -100}, {"5": 100, "6": 0.5}, None],
    "seed": [0, -(2**63), 2**63 - 1, None],
    "user": ["", "apprentice-7", None],
}
REFUSED: dict[str, list[Any]] = {
    "prompt": [[], [[]], [[5], []], [5, "a"], ["a", [5]], ["a", None], [5.0], [True], 5, {}],
    "suffix": ["b", 5, ["b"]],
    "max_tokens": [-1, 1.5, "5", True, 1024, LONG],
    "temperature": [-0.1, 2.1, "1", True],
    "top_p": [-0.1, 1.1, "1"],
    "n": [0, 129, 1.0, "1"],
    "best_of": [-1, 21, "1"],
    "stream": ["true", 1],
    "logprobs": [-1, 6, True, "2"],
    "echo": [1, "yes"],
    "stop": ["", ["a", ""], list("abcde"), 5, [5]],
    "presence_penalty": [-2.1, 2.1, "0"],
    "frequency_penalty": [-2.1, 2.1, "0"],
    "logit_bias": [{"5": -101}, {"5": 101}, {"five": 1}, {"-5": 1}, {"99999": 1}, {"5": "1"}, [5]],
    "seed": [-(2**63) - 1, 2**63, 1.5, "1"],
    "user": [5, {}],
}
FIELDS: dict[str, Any] = {"model": "bardi", "prompt": "The master", "max_tokens": 1}


@pytest.mark.parametrize("field", ACCEPTED)
def test_accepted(client: openai.OpenAI, field: str) -> None:
    for value in ACCEPTED[field]:
        answer = client.completions.create(**FIELDS, extra_body={field: value})
        prompts = len(value) if field == "prompt" and isinstance(value, list) and value != [5, 6] else 1
        assert len(answer.choices) == (value if field == "n" and value else prompts), value


@pytest.mark.parametrize("field", REFUSED)
def test_refused(client: openai.OpenAI, field: str) -> None:
    for value in REFUSED[field]:
        with pytest.raises(openai.BadRequestError) as refused:
            client.completions.create(**FIELDS, extra_body={field: value})
        assert refused.value.param == field, value


def test_best_of_zero_is_as_if_it_were_not_given(client: openai.OpenAI) -> None:
    plain = client.completions.create(**FIELDS, n=3, seed=1)
    for stream in (False, True):
        answer = client.completions.create(**FIELDS, n=3, seed=1, best_of=0, stream=stream)
        choices = [chunk.choices[0] for chunk in answer] if stream else answer.choices
        texts = ["".join(c.text for c in choices if c.index == i) for i in range(3)]
        assert texts == [choice.text for choice in plain.choices]


@pytest.mark.parametrize("logprobs", [None, 2])
def test_every_form_of_a_prompt_is_echoed(
    client: openai.OpenAI, tokenizer: Tokenizer, logprobs: int | None
) -> None:
    ids = tokenizer.encode("Café 你好")
    end = tokenizer.end_of_text
    for prompt, texts in [
        ("Café 你好", ["Café 你好"]),
        (["a", "", "Café 你好"], ["a", "", "Café 你好"]),
        (ids, ["Café 你好"]),
        ([ids, [end, *ids]], ["Café 你好", tokenizer.decode([end, *ids])]),
    ]:
        fields: dict[str, Any] = FIELDS | {"prompt": prompt, "max_tokens": 3, "seed": 1, "logprobs": logprobs}
        written = client.completions.create(**fields).choices
        echoed = client.completions.create(**fields, echo=True).choices
        assert [c.text for c in echoed] == [t + c.text for t, c in zip(texts, written, strict=True)]


def test_the_ends_of_logit_bias_ban_and_choose(client: openai.OpenAI, tokenizer: Tokenizer) -> None:
    id = str(tokenizer.encode("a")[0])
    fields: dict[str, Any] = FIELDS | {"max_tokens": 30, "seed": 1, "logprobs": 0}

    def count(bias: int) -> int:
        found = client.completions.create(**fields, logit_bias={id: bias}).choices[0].logprobs
        assert found is not None and found.tokens is not None
        return found.tokens.count("a")

    assert count(100) == 30
    assert 0 == count(-100) < count(5) < 30


def test_usage_tells_what_was_cached(client: openai.OpenAI) -> None:
    """Of each prompt once, as prompts count: what its first candidate found."""
    prompt = [7, 8, 9, 10] * 50
    usages = [
        client.completions.create(**FIELDS | {"prompt": [prompt, [9, 9]]}, n=3, seed=1).usage
        for _ in range(2)
    ]
    details = [usage.prompt_tokens_details for usage in usages if usage is not None]
    assert [one.cached_tokens for one in details if one is not None] == [0, 192]
    assert usages[1] is not None and usages[1].prompt_tokens == 202
    assert usages[1].completion_tokens_details is not None
    assert usages[1].completion_tokens_details.reasoning_tokens == 0
    talk: list[Any] = [{"role": "user", "content": "The apprentice ground the colours. " * 10}]
    for least in (0, 64):
        usage = client.chat.completions.create(model="bardi", messages=talk, max_tokens=1, n=2).usage
        assert usage is not None and usage.prompt_tokens_details is not None
        cached = usage.prompt_tokens_details.cached_tokens or 0
        assert least <= cached < usage.prompt_tokens
        assert cached % 64 == 0


def test_the_fingerprint_is_that_of_the_model(client: openai.OpenAI) -> None:
    whole = client.completions.create(**FIELDS)
    pieces = {piece.system_fingerprint for piece in client.completions.create(**FIELDS, stream=True)}
    assert pieces == {whole.system_fingerprint}
    assert whole.system_fingerprint is not None and whole.system_fingerprint.startswith("fp_")


def test_obfuscation_brings_events_to_common_sizes(client: openai.OpenAI) -> None:
    options: Any = {"include_obfuscation": True, "include_usage": True}
    fields = FIELDS | {"max_tokens": 12, "stream": True}
    for chunk in client.completions.create(**fields, stream_options=options):
        assert chunk.model_extra is not None and chunk.model_extra["obfuscation"]
    for chunk in client.completions.create(**fields):
        assert not chunk.model_extra
