"""Scores: against the model called token by token, across windows, and over a split."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from bottega.data.documents import Document
from bottega.data.shards import TokenShards, prepare
from bottega.errors import InputError
from bottega.evaluation.scoring import (
    Score,
    bits_per_byte,
    language_model,
    log_probs,
    rerank,
    score_ids,
    score_text,
)
from bottega.models.gpt import GPT, GPTConfig
from bottega.models.hmm import HMM, HMMConfig
from bottega.models.ngram import NgramModel
from bottega.models.recurrent import RecurrentConfig, RecurrentLM
from bottega.text.tokenizer import Tokenizer

TEXTS = [
    "The angel's left hand was painted by the youngest of the apprentices.",
    "He ground azurite and lead white, and swept the floor.",
    "Every morning the glue was boiled: café, 你好, 🎨.",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS * 10, 300)


@pytest.fixture(scope="module", params=[10, 11])
def gpt(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> GPT:
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, request.param, n_layer=2, n_head=2, n_embd=16, dropout=0.5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.train()  # scoring must switch the dropout off, and on again


@pytest.fixture(scope="module")
def ngram(tokenizer: Tokenizer) -> NgramModel:
    documents = [np.array(tokenizer.encode(text), dtype=np.int32) for text in TEXTS * 3]
    return NgramModel.fit(documents, 3, tokenizer.vocab_size, tokenizer.end_of_text)


@torch.no_grad()
def by_definition(gpt: GPT, ids: list[int], end: int) -> list[float]:
    """Each token after the tokens that its window holds: at least half a context where there is so much."""
    stream, context = [end, *ids, end], gpt.config.context_length
    n, stride, scored = len(stream) - 1, context // 2, []
    gpt.eval()
    for i in range(n):
        begin = 0 if i < context else -(-(i + 1 - context) // stride) * stride
        begin = max(0, min(begin, n - context))
        logits = gpt(torch.tensor([stream[begin : i + 1]]))[0, -1]
        scored.append(float(logits.log_softmax(-1)[stream[i + 1]]))
    gpt.train()
    return scored


@pytest.mark.parametrize("length", [0, 1, 8, 9, 10, 11, 12, 14, 15, 19, 20, 21, 24, 25, 40, 61])
def test_every_length_is_scored_by_windows_of_half_a_context(
    gpt: GPT, tokenizer: Tokenizer, length: int
) -> None:
    draw = torch.Generator().manual_seed(length)
    ids = torch.randint(0, tokenizer.vocab_size, (length,), generator=draw).tolist()
    expected = by_definition(gpt, ids, tokenizer.end_of_text)
    assert log_probs(gpt, ids, tokenizer.end_of_text) == pytest.approx(expected, abs=1e-4)
    assert score_ids(gpt, ids, tokenizer.end_of_text) == pytest.approx(sum(expected[:-1]), abs=1e-3)
    assert score_ids(gpt, ids, tokenizer.end_of_text, whole=True) == pytest.approx(sum(expected), abs=1e-3)
    assert gpt.training


def test_windows_in_several_batches(gpt: GPT, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = tokenizer.encode(" ".join(TEXTS))
    at_once = log_probs(gpt, ids, tokenizer.end_of_text)
    monkeypatch.setattr("bottega.evaluation.scoring._LOGITS_AT_ONCE", 3 * 11 * tokenizer.vocab_size)
    assert log_probs(gpt, ids, tokenizer.end_of_text) == pytest.approx(at_once, abs=1e-5)


def test_the_units() -> None:
    score = Score(-8 * math.log(2), tokens=4, bytes=2)
    assert score.bits_per_byte == pytest.approx(4)
    assert score.perplexity == pytest.approx(4)
    assert score + score == Score(-16 * math.log(2), 8, 4)
    assert math.isnan(Score(0.0, 0, 0).bits_per_byte)
    assert math.isnan(Score(0.0, 0, 0).perplexity)


def test_a_text_counts_its_utf8_bytes(gpt: GPT, tokenizer: Tokenizer) -> None:
    text = TEXTS[2]
    score, whole = (score_text(gpt, tokenizer, text, whole=flag) for flag in (False, True))
    assert score.bytes == whole.bytes == len(text.encode()) > len(text)
    assert (score.tokens, whole.tokens) == (len(tokenizer.encode(text)), len(tokenizer.encode(text)) + 1)
    assert whole.nats < score.nats < 0


def test_an_ngram_model_scores_too_and_ranks_what_it_knows_first(
    ngram: NgramModel, tokenizer: Tokenizer
) -> None:
    ids = tokenizer.encode(TEXTS[0])
    assert log_probs(ngram, ids, tokenizer.end_of_text) == pytest.approx(
        ngram.log_probs(np.array(ids, dtype=np.int32))
    )
    candidates = ["angel The hand's left", "The angel's left hand", "The angels left and"]
    ranking = rerank(ngram, tokenizer, candidates)
    assert ranking[0][0] == "The angel's left hand"
    assert sorted(text for text, _ in ranking) == sorted(candidates)
    nats = [score.nats for _, score in ranking]
    assert nats == sorted(nats, reverse=True)


def test_equals_keep_their_order(ngram: NgramModel, tokenizer: Tokenizer) -> None:
    first, second = "The hand", "".join(["The", " hand"])
    assert first is not second
    texts = [text for text, _ in rerank(ngram, tokenizer, [first, "zebra zebra zebra", second])]
    assert texts[0] is first
    assert texts[1] is second


def test_a_whole_split(gpt: GPT, ngram: NgramModel, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Every token and every end once, whatever the batch; with dropout off."""
    documents = [Document(text, str(i)) for i, text in enumerate(TEXTS)]
    shards: TokenShards = prepare(documents, tokenizer, tmp_path / "split")
    n_bytes = sum(len(text.encode()) for text in TEXTS)
    nats = sum(ngram.log_probs(np.array(tokenizer.encode(t), dtype=np.int32)).sum() for t in TEXTS)
    assert bits_per_byte(ngram, shards) == pytest.approx(-nats / math.log(2) / n_bytes)
    found = [bits_per_byte(gpt, shards, batch_size=b) for b in (1, 3, 8)]
    assert found == pytest.approx([found[0]] * 3, rel=1e-5)
    assert gpt.training
    short = GPT(GPTConfig(tokenizer.vocab_size, 512, n_layer=1, n_head=2, n_embd=16)).eval()
    stream = [tokenizer.end_of_text]
    for text in TEXTS:
        stream += [*tokenizer.encode(text), tokenizer.end_of_text]
    with torch.no_grad():  # one window sees all: the definition itself
        rows = short(torch.tensor([stream[:-1]]))[0].log_softmax(-1)
    total = float(rows[torch.arange(len(stream) - 1), torch.tensor(stream[1:])].sum())
    assert bits_per_byte(short, shards) == pytest.approx(-total / math.log(2) / n_bytes, rel=1e-5)


def test_models_without_a_context_are_scored_whole(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Recurrent networks and HMMs give the product of what they give token by token, over a split too."""
    ids, end = tokenizer.encode(TEXTS[0]), tokenizer.end_of_text
    torch.manual_seed(0)
    recurrent = RecurrentLM(RecurrentConfig(tokenizer.vocab_size, "gru", 1, 8, 8, dropout=0.5)).train()
    size = HMMConfig(3, "categorical", tokenizer.vocab_size)
    chain = HMM.drawn(size, [[*tokenizer.encode(text), end] for text in TEXTS])
    stream, stepped = [end, *ids, end], []
    state = None
    with torch.no_grad():
        for before, after in pairwise(stream):
            hidden, state = recurrent.eval().hidden(torch.tensor([[before]]), state)
            stepped.append(float((hidden[0, 0] @ recurrent.head_weight.T).log_softmax(-1)[after]))
    recurrent.train()
    np.testing.assert_allclose(log_probs(recurrent, ids, end), stepped, atol=1e-5)
    assert recurrent.training
    nats = log_probs(chain, ids, end)
    prefixes = [chain.score([*ids, end][:n]) for n in range(1, len(ids) + 2)]
    np.testing.assert_allclose(nats.cumsum(), prefixes, atol=1e-9)
    shards = prepare([Document(text, text) for text in TEXTS], tokenizer, tmp_path / "shards")
    for model in (recurrent, chain):
        whole = sum((score_text(model, tokenizer, text, whole=True) for text in TEXTS), Score(0, 0, 0))
        assert bits_per_byte(model, shards) == pytest.approx(whole.bits_per_byte, rel=1e-6)


def test_what_predicts_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bottega-nothing"}')
    with pytest.raises(InputError, match="bottega-nothing"):
        language_model(str(tmp_path))
