"""BLEU and chrF with signatures, BLEU by length, and search errors apart from model errors."""

from __future__ import annotations

import math

import pytest
import torch

from bottega.data.pair_loader import Vocabulary
from bottega.data.pairs import SPECIAL_TOKENS
from bottega.errors import InputError
from bottega.evaluation.translation import bleu_by_length, corpus_scores, count_errors, evaluate
from bottega.models.beam_search import BeamConfig, Hypothesis
from bottega.models.transformer import Transformer, TransformerConfig
from bottega.models.translator import Translator
from bottega.text.tokenizer import Tokenizer

SENTENCE = "the boy stood on the burning deck whence all but he had fled"


def test_bleu_by_hand():
    """4-gram precisions 4/5, 3/4, 2/3, 1/2 and as many tokens: the geometric mean of these."""
    scores = corpus_scores(["a b c d x"], ["a b c d e"])
    assert scores.bleu == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25, abs=1e-6)
    assert scores.brevity_penalty == scores.length_ratio == 1
    short = corpus_scores(["a b c d"], ["a b c d e"])
    assert short.bleu == pytest.approx(100 * math.exp(1 - 5 / 4), abs=1e-6)


def test_case_counts_in_one_figure_only_and_each_is_signed():
    scores = corpus_scores([SENTENCE.title()], [SENTENCE])
    assert scores.bleu < 1 and scores.bleu_lowercased == pytest.approx(100) and scores.chrf < 100
    assert "case:mixed" in scores.bleu_signature and "case:lc" in scores.bleu_lowercased_signature
    assert all("version:" in line for line in scores.lines())


def test_bleu_by_length_parts_the_corpus():
    sources = ["w " * n for n in (1, 5, 6, 12, 50)]
    right = [SENTENCE] * 5
    given = [SENTENCE, SENTENCE, "nothing of it", SENTENCE, SENTENCE]
    buckets = bleu_by_length(sources, given, right, edges=(5, 10, 20))
    assert [(b.above, b.up_to, b.sentences) for b in buckets] == [
        (0, 5, 2),
        (5, 10, 1),
        (10, 20, 1),
        (20, None, 1),
    ]
    assert [b.bleu > 99 for b in buckets] == [True, False, True, True]


def test_errors_of_the_search_are_those_that_the_model_would_not_make():
    found = [
        Hypothesis([5, 6], -1.0, -0.5),
        Hypothesis([5], -1.0, -0.5),
        Hypothesis([5], -2.0, -1.0, finished=False),
        Hypothesis([5], -2.0, -1.0),
    ]
    references = [
        Hypothesis([5, 6], -1.0, -0.5),  # the same
        Hypothesis([5, 6, 7], -8.0, -2.0),  # the model prefers what was found
        Hypothesis([5, 6, 7], -1.6, -0.4),  # by either measure the search missed it
        Hypothesis([5, 6, 7], -3.0, -0.75),  # missed by the score alone
    ]
    counts = count_errors(found, references)
    assert (counts.sentences, counts.same, counts.search_errors, counts.model_errors) == (4, 1, 2, 1)
    assert (counts.reference_likelier, counts.unfinished) == (1, 1)
    assert counts.mean_score_found == pytest.approx(-0.75)


@pytest.fixture(scope="module")
def translator() -> Translator:
    tokenizer = Tokenizer.train([SENTENCE] * 9, 290, special_tokens=SPECIAL_TOKENS)
    words = Vocabulary.of(tokenizer)
    ids = {"pad": words.pad, "bos": words.bos, "eos": words.eos}
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(words.size, 32, 1, 1, 2, 16, 32, **ids)).eval()
    for parameter in model.parameters():
        parameter.data *= 1.5
    return Translator(model, tokenizer)


def test_what_a_wide_beam_finds_a_greedy_search_misses(translator: Translator):
    """With a wide search's translations as references, a greedy one's are never better, and often worse."""
    sources = [" ".join(SENTENCE.split()[i : i + 4]) for i in range(10)]
    wide = translator.search(sources, BeamConfig(20, 1.0, max_tokens=6))
    forced = translator.search(sources, BeamConfig(1, 1.0, max_tokens=6))
    counts = count_errors([h for (h,) in forced], [h for (h,) in wide])
    assert counts.search_errors + counts.same == 10 and counts.search_errors > 0


def test_evaluate_puts_it_together(translator: Translator):
    sources = [" ".join(SENTENCE.split()[:n]) for n in range(1, 7)]
    report = evaluate(translator, sources, sources, BeamConfig(3, max_tokens=8))
    assert len(report.translations) == report.errors.sentences == report.scores.sentences == 6
    assert sum(bucket.sentences for bucket in report.by_length) == 6
    scored = translator.score(sources, sources, BeamConfig(3))
    assert report.errors.mean_score_reference == pytest.approx(
        sum(h.score for h in scored if h) / 6, abs=1e-5
    )


def test_what_cannot_be_compared_is_refused(translator: Translator):
    with pytest.raises(InputError, match="2 sentences and 1 references"):
        corpus_scores(["a", "b"], ["a"])
    with pytest.raises(InputError, match="at least one"):
        corpus_scores([], [])
    with pytest.raises(InputError, match="line 2: blank"):
        evaluate(translator, ["the", " "], ["the", "boy"])
