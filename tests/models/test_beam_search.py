"""Beam search: the exact answer where it can be had, a plain search for one sentence, and its rules."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.beam_search import BeamConfig, Decodes, Hypothesis, State, beam_search, forced_logprobs
from bottega.models.transformer import Transformer, TransformerConfig

PAD, BOS, EOS, WORDS = 0, 1, 2, 6


class Rows:
    """The recurrent state of each row."""

    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden

    def select(self, rows: Tensor) -> None:
        self.hidden = self.hidden[rows]


class Recurrent(nn.Module):
    """A small network that reads and writes with one GRU: its state is all that it remembers."""

    def __init__(self, words: int = WORDS, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed, self.cell, self.head = (
            nn.Embedding(words, 16),
            nn.GRUCell(16, 16),
            nn.Linear(16, words),
        )
        for parameter in self.parameters():
            parameter.data *= 4  # decided enough that hypotheses differ

    def begin(self, source: Tensor, source_mask: Tensor) -> Rows:
        hidden = torch.zeros(len(source), 16)
        for t in range(source.shape[1]):
            read = self.cell(self.embed(source[:, t]), hidden)
            hidden = torch.where(source_mask[:, t, None], read, hidden)
        return Rows(hidden)

    def next(self, ids: Tensor, state: Rows) -> Tensor:
        state.hidden = self.cell(self.embed(ids), state.hidden)
        return self.head(state.hidden)


def transformer(words: int = WORDS, seed: int = 0, **changes) -> Transformer:
    torch.manual_seed(seed)
    shape = {"n_encoder_layer": 1, "n_decoder_layer": 2, "n_head": 2, "n_embd": 16, "n_inner": 32}
    config = TransformerConfig(words, 32, **shape, **changes)
    model = Transformer(config).eval()
    for parameter in model.parameters():
        parameter.data *= 1.5
    return model


def sources(n: int, words: int = WORDS, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Sentences of 1 to 7 tokens, padded."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 8, (n,), generator=generator)
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    ids = torch.randint(3, words, mask.shape, generator=generator)
    return ids.where(mask, PAD), mask


@torch.no_grad()
def forced(model: Decodes[State], source: Tensor, mask: Tensor, targets: list[list[int]]) -> list[float]:
    """log P of targets of one source, as they stand; <pad>, <bos> and an <eos> at once cannot come."""
    n, longest = len(targets), max(map(len, targets))
    state, totals, before = model.begin(source.expand(n, -1), mask.expand(n, -1)), [0.0] * n, [BOS] * n
    for t in range(longest):
        logits = model.next(torch.tensor(before), state)
        logits[:, [PAD, BOS] + [EOS] * (t == 0)] = -math.inf
        logprobs = logits.log_softmax(1)
        for i, target in enumerate(targets):
            if t < len(target):
                totals[i] += float(logprobs[i, target[t]])
        before = [target[t] if t < len(target) else EOS for target in targets]
    return totals


@torch.no_grad()
def plain_search(model: Decodes[State], source: Tensor, mask: Tensor, config: BeamConfig) -> list[Hypothesis]:
    """One sentence, no state kept: every beginning is read anew from the start."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    found: list[Hypothesis] = []

    def finish(logprob: float, ids: list[int], ended: bool) -> None:
        score = logprob / (len(ids) + ended) ** config.length_penalty
        found.append(Hypothesis(ids, logprob, score, ended))

    for step in range(1, config.max_tokens + 1):
        candidates = []
        for logprob, ids in beams:
            state = model.begin(source, mask)
            for id in [BOS, *ids]:
                logits = model.next(torch.tensor([id]), state)
            logits[:, [PAD, BOS] + [EOS] * (step == 1)] = -math.inf
            for id, more in enumerate(logits.log_softmax(1)[0].tolist()):
                if more > -math.inf:
                    candidates.append((logprob + more, [*ids, id]))
        candidates = sorted(candidates, reverse=True)[: 2 * config.beam]
        for logprob, ids in candidates[: config.beam]:
            if ids[-1] == EOS or step == config.max_tokens:
                finish(logprob, ids[:-1] if ids[-1] == EOS else ids, ids[-1] == EOS)
        beams = [candidate for candidate in candidates if candidate[1][-1] != EOS][: config.beam]
        if config.length_penalty and len(found) >= config.beam:
            break
    return sorted(found, key=lambda h: h.score, reverse=True)[: config.n_best]


MODELS = {"recurrent": Recurrent, "transformer": transformer}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_a_beam_as_wide_as_the_space_finds_the_best_of_all_translations(kind, length_penalty):
    """All sequences up to 4 tokens over 4 that can be written: <eos> and three words."""
    config = BeamConfig(beam=200, length_penalty=length_penalty, max_tokens=4, n_best=5)
    for seed in range(3):
        model = MODELS[kind](seed=seed)
        source, mask = sources(1, seed=seed)
        (found,) = beam_search(model, source, mask, config, BOS, EOS, PAD)
        spaces = (itertools.product(range(3, WORDS), repeat=n) for n in range(1, 5))
        words = list(itertools.chain(*spaces))
        targets = [[*w, EOS] if len(w) < 4 else list(w) for w in words]
        every = dict(zip(words, forced(model, source, mask, targets), strict=True))
        score = {w: every[w] / min(4, len(w) + 1) ** length_penalty for w in every}
        best = sorted(every, key=lambda w: score[w], reverse=True)[:5]
        assert [tuple(h.ids) for h in found] == best
        for h in found:
            assert h.logprob == pytest.approx(every[tuple(h.ids)], abs=1e-4)
            assert h.score == pytest.approx(score[tuple(h.ids)], abs=1e-4)
            assert h.finished == (len(h.ids) < 4)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("beam", [1, 2, 5])
@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
def test_a_batch_finds_what_a_plain_search_finds_sentence_by_sentence(kind, beam, length_penalty):
    model = MODELS[kind](words=12)
    source, mask = sources(4, words=12)
    config = BeamConfig(beam, length_penalty, max_tokens=6)
    for i, (hypothesis,) in enumerate(beam_search(model, source, mask, config, BOS, EOS, PAD)):
        alone = source[i : i + 1, mask[i]], mask[i : i + 1, mask[i]]
        (plain,) = plain_search(model, *alone, config)
        assert (hypothesis.ids, hypothesis.finished) == (plain.ids, plain.finished)
        assert hypothesis.score == pytest.approx(plain.score, abs=1e-4)
        (one,) = beam_search(model, *alone, config, BOS, EOS, PAD)
        assert one[0].ids == hypothesis.ids
        (logprob,) = forced(model, *alone, [hypothesis.ids + [EOS] * hypothesis.finished])
        assert hypothesis.logprob == pytest.approx(logprob, abs=1e-4)


def test_the_n_best_are_those_of_a_plain_search():
    model = transformer(words=12)
    source, mask = sources(3, words=12)
    config = BeamConfig(beam=6, max_tokens=7, n_best=4)
    for i, found in enumerate(beam_search(model, source, mask, config, BOS, EOS, PAD)):
        plain = plain_search(model, source[i : i + 1, mask[i]], mask[i : i + 1, mask[i]], config)
        assert [h.ids for h in found] == [h.ids for h in plain]


@pytest.mark.parametrize("kind", MODELS)
def test_a_forced_target_has_the_probability_that_a_search_gives_it(kind):
    model = MODELS[kind](words=12)
    source, mask = sources(5, words=12)
    found = [h for (h,) in beam_search(model, source, mask, BeamConfig(3, max_tokens=9), BOS, EOS, PAD)]
    targets = [*[h.ids for h in found], [5]]
    source, mask = torch.cat([source, source[:1]]), torch.cat([mask, mask[:1]])
    logprobs = forced_logprobs(model, source, mask, targets, BOS, EOS, PAD)
    ended = [[*target, EOS] for target in targets]
    for i, logprob in enumerate(logprobs):
        (alone,) = forced(model, source[i : i + 1], mask[i : i + 1], [ended[i]])
        assert logprob == pytest.approx(alone, abs=1e-4)
        if i < 5 and found[i].finished:
            assert logprob == pytest.approx(found[i].logprob, abs=1e-4)
    assert forced_logprobs(model, source[:1], mask[:1], [[]], BOS, EOS, PAD) == [-math.inf]
    assert forced_logprobs(model, source[:1], mask[:1], [[]], BOS, EOS, PAD, min_tokens=0)[0] > -math.inf


@pytest.mark.parametrize("kind", MODELS)
def test_a_beam_of_one_is_greedy(kind):
    model = MODELS[kind](words=12)
    source, mask = sources(5, words=12)
    found = beam_search(model, source, mask, BeamConfig(1, max_tokens=9), BOS, EOS, PAD)
    for i, (hypothesis,) in enumerate(found):
        with torch.no_grad():
            state, ids = model.begin(source[i : i + 1], mask[i : i + 1]), [BOS]
            while len(ids) < 10 and ids[-1] != EOS:
                logits = model.next(torch.tensor(ids[-1:]), state)
                logits[:, [PAD, BOS] + [EOS] * (len(ids) == 1)] = -math.inf
                ids.append(int(logits.argmax()))
        assert hypothesis.ids == [id for id in ids[1:] if id != EOS]


def test_pad_and_bos_are_never_written_though_a_model_wants_nothing_else():
    model = Recurrent()
    model.head.bias.data[[PAD, BOS]] = 100.0
    source, mask = sources(4)
    for found in beam_search(model, source, mask, BeamConfig(4, max_tokens=6, n_best=4), BOS, EOS, PAD):
        assert found
        for hypothesis in found:
            assert not {PAD, BOS, EOS} & set(hypothesis.ids)
            assert -50 < hypothesis.logprob < 0


def test_what_never_ends_is_cut_off_and_says_so():
    model = Recurrent()
    model.head.bias.data[EOS] = -100.0
    found = beam_search(model, *sources(3), BeamConfig(3, max_tokens=5), BOS, EOS, PAD)
    assert [(len(h.ids), h.finished) for (h,) in found] == [(5, False)] * 3


def test_nothing_is_said_only_where_that_is_allowed():
    model = Recurrent()
    model.head.bias.data[EOS] = 100.0
    for least in (0, 1, 3):
        found = beam_search(model, *sources(3), BeamConfig(3, min_tokens=least), BOS, EOS, PAD)
        assert [len(h.ids) for (h,) in found] == [least] * 3


def test_a_wider_beam_is_seldom_less_probable():
    """With no normalisation, and over many sentences: each single case may go either way."""
    model = transformer(words=12, seed=2)
    source, mask = sources(40, words=12)
    mean = []
    for beam in (1, 8):
        found = beam_search(model, source, mask, BeamConfig(beam, 0.0, max_tokens=10), BOS, EOS, PAD)
        mean.append(sum(h.logprob for (h,) in found) / 40)
    assert mean[0] < mean[1]


@pytest.mark.parametrize(
    "senseless",
    [
        {"beam": 0},
        {"max_tokens": 0},
        {"n_best": 0},
        {"beam": 2, "n_best": 3},
        {"length_penalty": -0.1},
        {"min_tokens": -1},
        {"min_tokens": 9, "max_tokens": 8},
    ],
)
def test_a_senseless_search_is_refused(senseless):
    with pytest.raises(InputError):
        BeamConfig(**senseless)
