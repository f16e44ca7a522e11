"""What lm-eval's tasks may ask, and may not. Equal numbers elsewhere: tests/parity/test_lm_eval.py."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from bottega.errors import InputError
from bottega.evaluation.scoring import log_probs
from bottega.models.gpt import GPT, GPTConfig
from bottega.text.tokenizer import Tokenizer

pytest.importorskip("lm_eval")

TEXT = "The master ground the colour for the wing of the angel, and the apprentice boiled the glue."


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([TEXT], 268)


@pytest.fixture
def gpt(tokenizer: Tokenizer) -> GPT:
    torch.manual_seed(1)
    return GPT(GPTConfig(tokenizer.vocab_size, context_length=32, n_layer=1, n_head=2, n_embd=16)).eval()


@pytest.fixture
def harness(gpt: GPT, tokenizer: Tokenizer) -> Any:
    from bottega.evaluation.harness import Harness

    return Harness(copy.deepcopy(gpt), tokenizer)  # which takes a model over


def ask(harness: Any, kind: str, *requests: tuple[Any, ...]) -> list[Any]:
    from lm_eval.api.instance import Instance

    instances = [Instance(kind, {}, arguments, i) for i, arguments in enumerate(requests)]
    return getattr(harness, kind)(instances, disable_tqdm=True)


def test_scores_are_those_of_the_model(harness: Any, gpt: GPT, tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(TEXT[:30])
    nats = log_probs(gpt, ids, tokenizer.end_of_text)[:-1]
    assert len(ids) < 30
    (rolling,) = ask(harness, "loglikelihood_rolling", (TEXT[:30],))
    assert rolling == pytest.approx(nats.sum(), abs=1e-4)
    ((alone, _),) = ask(harness, "loglikelihood", ("", TEXT[:30]))
    assert alone == rolling


def test_greedy_is_said_of_the_likeliest_continuation_alone(harness: Any, tokenizer: Tokenizer) -> None:
    context = "The master"
    (written,) = ask(harness, "generate_until", (context, {"max_gen_toks": 1}))
    before = tokenizer.encode(context)
    pairs = [(context, tokenizer.decode([id])) for id in range(tokenizer.vocab_size)]
    pairs = [pair for i, pair in enumerate(pairs) if tokenizer.encode("".join(pair)) == [*before, i]]
    assert len(pairs) > 50
    found = ask(harness, "loglikelihood", *pairs)
    greedy = [text for (_, text), (_, likeliest) in zip(pairs, found, strict=True) if likeliest]
    assert greedy == [written]


def test_a_text_ends_before_its_stop_strings(harness: Any) -> None:
    (whole,) = ask(harness, "generate_until", ("The", {"max_gen_toks": 16}))
    stop = whole[len(whole) // 2 :][:3]
    (cut, again) = ask(
        harness,
        "generate_until",
        ("The", {"max_gen_toks": 16, "until": [stop]}),
        ("The", {"max_gen_toks": 16, "until": stop, "do_sample": False}),
    )
    assert cut == again == whole[: whole.index(stop)]


@pytest.mark.parametrize(
    ("kind", "request_", "said"),
    [
        ("generate_until", ("The", {"max_gen_toks": 31}), "31 tokens, too many for a context of 32"),
        ("generate_until", ("The", {"num_beams": 4}), "'num_beams', which this engine does not know"),
        ("generate_until", ("The", {"max_gen_toks": 2, "temperature": 9}), "temperature must be"),
        ("loglikelihood", ("The", TEXT), "does not fit: with one token before it at most 31 do"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    harness: Any, kind: str, request_: tuple[Any, ...], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        ask(harness, kind, request_)


def test_an_unknown_task_is_named(harness: Any) -> None:
    from bottega.evaluation.harness import evaluate

    with pytest.raises(InputError, match="there is no task 'grinding_of_colours'"):
        evaluate(harness, ["grinding_of_colours"])
