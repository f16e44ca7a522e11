"""`suffix`: text between two others, by a model whose checkpoint says that it was trained for it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from bottega.models.generation import generate
from bottega.models.gpt import GPT
from bottega.nn.sampling_params import SamplingParams
from bottega.server.served import Served
from bottega.text.tokenizer import Tokenizer

BEFORE, AFTER = "The apprentice ground ", " while the master drew."


@pytest.fixture(scope="module")
def client(folder: Path, running, tmp_path_factory) -> Iterator[openai.OpenAI]:
    """The client of a server with the same model, once more as one that was trained for insertion."""
    copy = tmp_path_factory.mktemp("models") / "inserts"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"fim_rate": 0.5}))
    served = Served.start(copy)
    while not served.engine.ready:
        time.sleep(0.05)
    app = running.server.config.app
    app.state.models["inserts"] = served
    yield running.client()
    del app.state.models["inserts"]
    served.engine.close()


@pytest.fixture(scope="module")
def prompt(tokenizer: Tokenizer) -> list[int]:
    special = tokenizer.special_tokens
    return [
        special["<|fim_prefix|>"],
        special["<|fim_suffix|>"],
        *tokenizer.encode(AFTER),
        special["<|fim_middle|>"],
        *tokenizer.encode(BEFORE),
    ]


def test_the_model_reads_the_suffix_then_the_prefix_and_goes_on(client, gpt: GPT, tokenizer, prompt):
    answer = client.completions.create(
        model="inserts", prompt=BEFORE, suffix=AFTER, max_tokens=12, temperature=0, logprobs=2
    )
    params = SamplingParams(temperature=0.0, max_tokens=12)
    expected = generate(gpt, [prompt], params, tokenizer.end_of_text)[0]
    assert answer.choices[0].text == tokenizer.decode(expected.ids)
    assert answer.usage.prompt_tokens == len(prompt)  # the suffix is read too, and costs
    assert answer.choices[0].logprobs.text_offset[0] == len(BEFORE)


def test_another_suffix_is_another_answer(client):
    def insert(suffix: str) -> str:
        return (
            client.completions.create(
                model="inserts", prompt=BEFORE, suffix=suffix, max_tokens=20, temperature=0
            )
            .choices[0]
            .text
        )

    assert len({insert(suffix) for suffix in (AFTER, " and swept the floor.", "你好")}) > 1


def test_echo_repeats_the_prompt_and_not_the_suffix(client, tokenizer):
    fields = {"model": "inserts", "prompt": BEFORE, "suffix": AFTER, "max_tokens": 5, "temperature": 0}
    plain = client.completions.create(**fields).choices[0]
    echoed = client.completions.create(**fields, echo=True, logprobs=1).choices[0]
    assert echoed.text == BEFORE + plain.text
    read = tokenizer.encode(BEFORE)
    shown = echoed.logprobs.tokens
    assert "".join(shown[: len(read)]) == BEFORE and not any("fim" in token for token in shown[: len(read)])
    assert echoed.logprobs.text_offset[: len(read) + 1][-1] == len(BEFORE)
    scored = client.completions.create(**fields | {"max_tokens": 0}, echo=True, logprobs=0).choices[0]
    assert scored.text == BEFORE and len(scored.logprobs.token_logprobs) == len(read)
    assert all(value < 0 for value in scored.logprobs.token_logprobs)  # the first too: something precedes it


def test_n_best_of_seed_stream_and_several_prompts(client):
    fields = {"model": "inserts", "suffix": AFTER, "max_tokens": 8, "seed": 3}
    several = client.completions.create(prompt=[BEFORE, "Once"], n=2, **fields)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    best = client.completions.create(prompt=BEFORE, n=1, best_of=3, logprobs=1, **fields)
    assert len(best.choices) == 1 and best.choices[0].logprobs.tokens
    stream = client.completions.create(prompt=BEFORE, n=2, stream=True, **fields)
    texts = ["", ""]
    for event in stream:
        texts[event.choices[0].index] += event.choices[0].text
    assert texts == [choice.text for choice in several.choices[:2]]


def test_prompts_of_token_ids_and_none(client, tokenizer):
    fields = {"model": "inserts", "suffix": AFTER, "max_tokens": 6, "temperature": 0}
    as_text = client.completions.create(prompt=BEFORE, **fields)
    as_ids = client.completions.create(prompt=tokenizer.encode(BEFORE), **fields)
    assert as_text.choices[0].text == as_ids.choices[0].text
    nothing = client.completions.create(prompt="", **fields)
    assert nothing.usage.prompt_tokens == 3 + len(tokenizer.encode(AFTER))


def test_special_tokens_in_a_suffix_are_text(client, tokenizer):
    suffix = "<|fim_middle|>"
    answer = client.completions.create(model="inserts", prompt="a", suffix=suffix, max_tokens=1)
    assert answer.usage.prompt_tokens == 3 + len(tokenizer.encode("a")) + len(tokenizer.encode(suffix))


def test_the_suffix_counts_towards_the_context(client):
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(model="inserts", prompt="a", suffix="angel " * 2000, max_tokens=1)
    assert error.value.code == "context_length_exceeded"


def test_an_empty_suffix_is_none(client):
    fields = {"prompt": BEFORE, "max_tokens": 6, "temperature": 0}
    for model in ("inserts", "bardi"):
        plain = client.completions.create(model=model, **fields)
        empty = client.completions.create(model=model, suffix="", **fields)
        assert empty.choices[0].text == plain.choices[0].text
        assert empty.usage.prompt_tokens == plain.usage.prompt_tokens


def test_models_without_it_refuse(client):
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(model="bardi", prompt=BEFORE, suffix=AFTER)
    assert (error.value.param, error.value.code) == ("suffix", "unsupported_value")
    assert "not trained for insertion" in error.value.message
