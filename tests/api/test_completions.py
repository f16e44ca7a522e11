"""POST /v1/completions over a real socket, with the stock client: every field, every prompt form."""

from __future__ import annotations

from typing import Any

import openai
import pytest
import torch

from bottega.models.generation import generate
from bottega.models.gpt import GPT
from bottega.nn.sampling_params import SamplingParams
from bottega.text.tokenizer import Tokenizer

PROMPT = "The master drew"


def expected(gpt: GPT, tokenizer: Tokenizer, prompt: str, **params: Any) -> str:
    done = generate(gpt, [tokenizer.encode(prompt)], SamplingParams(**params), tokenizer.end_of_text)
    return tokenizer.decode(done[0].ids)


def test_a_seeded_completion_is_that_of_generate(
    client: openai.OpenAI, gpt: GPT, tokenizer: Tokenizer
) -> None:
    answer = client.completions.create(model="bardi", prompt=PROMPT, max_tokens=12, seed=5)
    assert answer.object == "text_completion"
    assert answer.model == "bardi"
    assert answer.choices[0].text == expected(gpt, tokenizer, PROMPT, max_tokens=12, seed=5)
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].logprobs is None
    assert answer.usage is not None
    n = len(tokenizer.encode(PROMPT))
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (n, 12)
    assert answer.usage.total_tokens == n + 12


def test_sixteen_tokens_unless_said_otherwise(client: openai.OpenAI, tokenizer: Tokenizer) -> None:
    bias = {str(tokenizer.end_of_text): -100}
    answer = client.completions.create(model="bardi", prompt=PROMPT, logit_bias=bias)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 16


def test_the_four_forms_of_a_prompt(client: openai.OpenAI, tokenizer: Tokenizer) -> None:
    prompts = [PROMPT, "Every morning", "Café 你好"]
    ids = [tokenizer.encode(prompt) for prompt in prompts]
    texts = []
    for prompt in (prompts, ids):
        answer = client.completions.create(model="bardi", prompt=prompt, temperature=0, max_tokens=6)
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        texts.append([choice.text for choice in answer.choices])
    for form in (prompts, ids):
        answers = [
            client.completions.create(model="bardi", prompt=one, temperature=0, max_tokens=6) for one in form
        ]
        texts.append([answer.choices[0].text for answer in answers])
    assert texts[0] == texts[1] == texts[2] == texts[3]


def test_an_empty_prompt_begins_a_document(client: openai.OpenAI, tokenizer: Tokenizer) -> None:
    forms: list[Any] = ["", [tokenizer.end_of_text], [[tokenizer.end_of_text]], None]
    texts = {client.completions.create(model="bardi", prompt=p, temperature=0).choices[0].text for p in forms}
    assert len(texts) == 1


def test_n_and_seed(client: openai.OpenAI) -> None:
    def ask(seed: int) -> list[str]:
        answer = client.completions.create(model="bardi", prompt=[PROMPT, "In"], n=3, seed=seed)
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3, 4, 5]
        return [choice.text for choice in answer.choices]

    first = ask(1)
    assert len(set(first)) == 6
    assert ask(1) == first
    assert ask(2) != first
    assert client.completions.create(model="bardi", prompt=PROMPT, seed=1).choices[0].text == first[0]


def test_streaming_is_the_whole_in_pieces(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {
        "model": "bardi", "prompt": [PROMPT, "Every"], "n": 2, "seed": 3, "max_tokens": 24,
        "logprobs": 2, "echo": True,
    }  # fmt: skip
    whole = client.completions.create(**fields)
    texts, tokens, offsets, reasons = [""] * 4, [[] for _ in range(4)], [[] for _ in range(4)], [None] * 4
    ids = set()
    for chunk in client.completions.create(**fields, stream=True):
        ids.add(chunk.id)
        choice = chunk.choices[0]
        texts[choice.index] += choice.text
        tokens[choice.index] += choice.logprobs.tokens
        offsets[choice.index] += choice.logprobs.text_offset
        reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert len(ids) == 1
    for choice in whole.choices:
        assert texts[choice.index] == choice.text
        assert tokens[choice.index] == choice.logprobs.tokens
        assert offsets[choice.index] == choice.logprobs.text_offset
        assert reasons[choice.index] == choice.finish_reason


def test_usage_in_a_stream(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"model": "bardi", "prompt": PROMPT, "seed": 1, "max_tokens": 5, "stream": True}
    chunks = list(client.completions.create(**fields, stream_options={"include_usage": True}))
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5
    assert all(chunk.choices and chunk.usage is None for chunk in client.completions.create(**fields))


def test_logprobs_are_raw_and_the_models_own(client: openai.OpenAI, gpt: GPT, tokenizer: Tokenizer) -> None:
    answer = client.completions.create(
        model="bardi", prompt=PROMPT, seed=4, temperature=1.6, max_tokens=8, logprobs=3, echo=True
    )
    choice = answer.choices[0]
    found = choice.logprobs
    assert found is not None
    assert "".join(found.tokens) == choice.text or any(t.startswith("bytes:") for t in found.tokens)
    ids = tokenizer.encode(PROMPT)
    assert len(found.tokens) == len(ids) + 8
    assert found.token_logprobs[0] is None
    assert found.top_logprobs[0] is None
    with torch.no_grad():
        rows = gpt(torch.tensor([ids]))[0].log_softmax(-1)
    for i, id in enumerate(ids[1:]):
        assert found.token_logprobs[i + 1] == pytest.approx(float(rows[i, id]), abs=1e-4)
        assert len(found.top_logprobs[i + 1]) in (3, 4)
        assert found.tokens[i + 1] in found.top_logprobs[i + 1]
        best = max(found.top_logprobs[i + 1].values())
        assert best == pytest.approx(float(rows[i].max()), abs=1e-4)
    assert found.text_offset[: len(ids)] == [len(tokenizer.decode(ids[:i])) for i in range(len(ids))]
    assert found.text_offset[len(ids)] == len(PROMPT)


def test_no_alternatives_asked(client: openai.OpenAI) -> None:
    found = (
        client.completions.create(model="bardi", prompt=PROMPT, logprobs=0, max_tokens=2).choices[0].logprobs
    )
    assert found is not None
    assert found.top_logprobs is None
    assert len(found.token_logprobs) == len(found.tokens)


def test_echo_without_new_tokens_scores_the_prompt(client: openai.OpenAI, tokenizer: Tokenizer) -> None:
    answer = client.completions.create(model="bardi", prompt=PROMPT, max_tokens=0, echo=True, logprobs=1)
    choice = answer.choices[0]
    assert (choice.text, choice.finish_reason) == (PROMPT, "length")
    assert len(choice.logprobs.token_logprobs) == len(tokenizer.encode(PROMPT))
    assert answer.usage.completion_tokens == 0
    without = client.completions.create(model="bardi", prompt=PROMPT, max_tokens=3, seed=1)
    echoed = client.completions.create(model="bardi", prompt=PROMPT, max_tokens=3, seed=1, echo=True)
    assert echoed.choices[0].text == PROMPT + without.choices[0].text


@pytest.mark.parametrize("stream", [False, True])
def test_stop_strings_end_the_text_before_them(client: openai.OpenAI, stream: bool) -> None:
    fields: dict[str, Any] = {"model": "bardi", "prompt": PROMPT, "seed": 8, "max_tokens": 60}
    free = client.completions.create(**fields).choices[0].text
    stop = free[20:23]  # a text that certainly comes, and need not be whole tokens
    answer = client.completions.create(**fields, stop=["\0never", stop], stream=stream, logprobs=1)
    pieces = [chunk.choices[0] for chunk in answer] if stream else [answer.choices[0]]
    assert "".join(piece.text for piece in pieces) == free[: free.index(stop)]
    assert [piece.finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + ["stop"]
    assert stream or answer.usage.completion_tokens < 60  # and nothing was drawn in vain
    offsets = [at for piece in pieces for at in piece.logprobs.text_offset]
    assert all(at < len(PROMPT) + free.index(stop) for at in offsets)


def test_the_best_of_several(client: openai.OpenAI, gpt: GPT, tokenizer: Tokenizer) -> None:
    answer = client.completions.create(
        model="bardi", prompt=PROMPT, n=2, best_of=5, seed=2, max_tokens=6, logprobs=0
    )
    params = SamplingParams(seed=2, max_tokens=6)
    done = generate(gpt, [tokenizer.encode(PROMPT)], params, tokenizer.end_of_text, n=5)
    ranked = sorted(done, key=lambda c: -sum(c.logprobs) / len(c.logprobs))
    assert [choice.text for choice in answer.choices] == [tokenizer.decode(c.ids) for c in ranked[:2]]
    assert answer.usage.completion_tokens == 30  # all that was drawn


def test_the_sampling_fields_arrive(client: openai.OpenAI, gpt: GPT, tokenizer: Tokenizer) -> None:
    params: dict[str, Any] = {
        "temperature": 1.3, "top_p": 0.9, "presence_penalty": 0.5, "frequency_penalty": 0.7, "seed": 6,
        "max_tokens": 30,
    }  # fmt: skip
    extensions = {"top_k": 50, "min_p": 0.01, "repetition_penalty": 1.2}
    bias = {7: 5.0, 9: -100.0}
    answer = client.completions.create(
        model="bardi",
        prompt=PROMPT,
        logit_bias={str(id): int(value) for id, value in bias.items()},
        user="apprentice-7",
        extra_body=extensions,
        **params,
    )
    everything = expected(gpt, tokenizer, PROMPT, **params, **extensions, logit_bias=bias)
    assert answer.choices[0].text == everything
    for name, neutral in [
        ("top_k", 0),
        ("repetition_penalty", 1.0),
        ("frequency_penalty", 0.0),
        ("top_p", 1.0),
    ]:
        assert everything != expected(
            gpt, tokenizer, PROMPT, **(params | extensions | {"logit_bias": bias, name: neutral})
        ), f"the case does not show that {name} arrives"


def test_nulls_are_defaults(client: openai.OpenAI) -> None:
    plain = client.completions.create(model="bardi", prompt=PROMPT, seed=1)
    names = "suffix max_tokens temperature top_p n best_of stream logprobs echo stop presence_penalty"
    nulls = dict.fromkeys([*names.split(), "frequency_penalty", "logit_bias", "user", "top_k", "min_p"])
    same = client.completions.create(model="bardi", prompt=PROMPT, seed=1, extra_body=nulls)
    assert same.choices[0].text == plain.choices[0].text


def test_characters_are_never_split(client: openai.OpenAI, tokenizer: Tokenizer) -> None:
    """A painter's palette in byte tokens: forced one by one, it must come in one piece."""
    palette = tokenizer.encode("🎨")
    assert len(palette) > 1
    bias = {str(id): 100 for id in palette}
    fields: dict[str, Any] = {
        "model": "bardi",
        "prompt": "x",
        "logit_bias": bias,
        "max_tokens": 200,
        "seed": 3,
    }
    texts = [chunk.choices[0].text for chunk in client.completions.create(**fields, stream=True)]
    whole = client.completions.create(**fields)
    assert "".join(texts) == whole.choices[0].text
    assert all(text.isprintable() or text == "" for text in texts)


def test_an_empty_prompt_among_others_begins_a_document(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"model": "bardi", "temperature": 0, "max_tokens": 4}
    both = client.completions.create(prompt=["", PROMPT], stop=[], **fields).choices
    alone = [client.completions.create(prompt=prompt, **fields).choices[0] for prompt in (None, PROMPT)]
    assert [choice.text for choice in both] == [choice.text for choice in alone]
