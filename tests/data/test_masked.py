"""What BERT and the sentence encoder are given to learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bottega.data.contrastive import ContrastivePairs, EncodedTitles, PairOptions
from bottega.data.labelled_batches import LabelledBatches
from bottega.data.masked import MaskedPairs, Vocabulary
from bottega.data.titled import SHORTEST, Titled, functions, read_titled, without_words
from bottega.errors import InputError
from bottega.nn.loss import IGNORE

VOCABULARY = Vocabulary(1000, pad=0, cls=2, sep=3, mask=4)
DOCUMENTS = [np.arange(5 + 100 * n, 5 + 100 * n + 90, dtype=np.int32) for n in range(8)]


def pairs(seed: int = 0) -> MaskedPairs:
    return MaskedPairs(DOCUMENTS, VOCABULARY, 64, 32, seed)


def test_rows_are_two_spans_with_hidden_tokens() -> None:
    source = pairs()
    follows, kinds = [], np.zeros(3)
    for _ in range(20):
        batch = source.next_batch()
        ids, targets = batch["ids"].numpy(), batch["targets"].numpy()
        whole = np.where(targets == IGNORE, ids, targets)
        for row, segments, answer in zip(
            whole, batch["segments"].numpy(), batch["next"].tolist(), strict=True
        ):
            ends = np.flatnonzero(row == 3)
            first, second = row[1 : ends[0]], row[ends[0] + 1 : ends[1]]
            assert row[0] == 2 and len(segments) == 32 and segments.sum() == len(second) + 1
            assert np.diff(first).tolist() == [1] * (len(first) - 1)
            assert (second[0] == first[-1] + 1) == (answer == 0)
            follows.append(answer)
        hidden = targets != IGNORE
        kinds += [(ids[hidden] == 4).sum(), (ids[hidden] == targets[hidden]).sum(), hidden.sum()]
    assert 0.45 < np.mean(follows) < 0.55
    assert 0.77 < kinds[0] / kinds[2] < 0.83 and 0.08 < kinds[1] / kinds[2] < 0.12


def test_the_cursor_is_one_integer() -> None:
    one, other = pairs(), pairs()
    for _ in range(3):
        one.next_batch()
    other.load_state_dict(one.state_dict())
    for name, tensor in one.next_batch().items():
        assert torch.equal(other.next_batch()[name] if name == "ids" else tensor, tensor)
    assert not torch.equal(pairs(0).next_batch()["ids"], pairs(1).next_batch()["ids"])
    with pytest.raises(InputError, match="other data"):
        MaskedPairs(DOCUMENTS[:4], VOCABULARY, 64, 32).load_state_dict(one.state_dict())


def test_validation_is_the_same_each_time() -> None:
    first, second = (list(pairs().in_order(7)) for _ in range(2))
    assert sum(len(batch["ids"]) for batch in first) == 8 * 3
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a["ids"], b["ids"])


def test_too_little_for_pairs() -> None:
    with pytest.raises(InputError, match="1 documents of 4 tokens or more, to train on or held out"):
        MaskedPairs(DOCUMENTS[:1], VOCABULARY, 4, 32)
    with pytest.raises(InputError, match="no room"):
        MaskedPairs(DOCUMENTS, VOCABULARY, 4, 4)


def test_an_epoch_of_labelled_texts_has_each_once() -> None:
    rows = [[2, n, 3] + [5] * (n % 3) for n in range(10, 22)]
    batches = LabelledBatches(rows, [n % 2 for n in range(12)], 4, pad=0)
    epochs = [[batches.next_batch() for _ in range(3)] for _ in range(2)]
    seen = [sorted(int(row[1]) for batch in epoch for row in batch["ids"]) for epoch in epochs]
    assert seen == [list(range(10, 22))] * 2
    assert not torch.equal(epochs[0][0]["ids"][:, 1], epochs[1][0]["ids"][:, 1])
    assert sum(len(batch["labels"]) for batch in batches.in_order()) == 12
    with pytest.raises(InputError, match="lower batch_size"):
        LabelledBatches(rows, [0] * 12, 13, pad=0)


def test_titles_stand_over_their_paragraphs(tmp_path: Path) -> None:
    long = "The apprentice ground the colours. " * 10
    for n in range(60):
        (tmp_path / f"{n}.txt").write_text(f"Workshop {n}\n\nshort\n\n{long}\n{long} {n}\n")
    training, held_out = read_titled([str(tmp_path)], report=print)
    assert len(training) + len(held_out) == 60 and len(held_out) >= 1
    assert all(len(one.paragraphs) == 2 and len(one.paragraphs[0]) >= SHORTEST for one in training)
    again = read_titled([str(tmp_path)], report=print)[1]
    assert [one.title for one in again] == [one.title for one in held_out]
    with pytest.raises(InputError, match="first line is a title"):
        read_titled([str(tmp_path / "0.txt")], report=print)


def test_functions_have_titles_too() -> None:
    training, held_out = read_titled(["embedded"], report=print)
    assert len(training) > 1000 and not {one.title for one in training} & {one.title for one in held_out}


def test_a_function_after_a_form_feed_has_its_own_body() -> None:
    filler = "    pigment = 'azure, ochre, vermilion, malachite, lead white, bone black, umber'\n"
    source = f'"""A module."""\n\f\ndef grind():\n    """Grind colours."""\n{filler}    return pigment'
    (one,) = functions(source)
    assert one.title == "grind: Grind colours."
    assert one.paragraphs == [f"{filler}    return pigment"]


def test_words_of_a_title_are_left_out() -> None:
    assert (
        without_words("Ada wrote of engines; an engine computes.", "Ada's Engine")
        == " wrote of ; an  computes."
    )
    assert without_words("same", "…") == "same"


def test_pairs_of_a_batch_are_of_different_documents() -> None:
    titled = [Titled(str(n), [f"{n} {n}", f"{n} 7 7"]) for n in range(10, 40)]
    data = EncodedTitles.of(titled, lambda texts: [[int(word) for word in text.split()] for text in texts])
    batches = ContrastivePairs(data, 20, 0, PairOptions(hidden=0.0), frame=([2], [3]))
    batch = batches.next_batch()
    assert len(set(batch["query"][:, 1].tolist())) == 20
    assert torch.equal(batch["query"][:, 1], batch["document"][:, 1]) and set(
        batch["query"][:, 0].tolist()
    ) == {2}
    counts, total = data.document_frequencies(50)
    assert (int(counts[7]), int(counts[12]), total) == (30, 2, 60)
    with pytest.raises(InputError, match="lower batch_size"):
        ContrastivePairs(data, 31, 0, PairOptions())
    same = EncodedTitles([np.full(5, 10, np.int32)] * 4, [[np.full(5, 10, np.int32)]] * 4)
    short = ContrastivePairs(same, 4, 0, PairOptions(length=3), frame=([2], [3]))
    for batch in (short.next_batch(), next(short.in_order())):
        assert batch["query"].shape == batch["document"].shape == (4, 5)
    with pytest.raises(InputError, match="shares from 0 to 1"):
        PairOptions(titles=2)


def test_stretches_reach_the_last_token() -> None:
    paragraphs = [[np.arange(10, 14, dtype=np.int32)]] * 4
    data = EncodedTitles([np.array([7], np.int32)] * 4, paragraphs)
    options = PairOptions(titles=0.0, hidden=0.0, length=3, openings=0.0)
    batches = ContrastivePairs(data, 4, 0, options)
    seen = {tuple(row) for _ in range(8) for row in batches.next_batch()["document"].tolist()}
    assert seen == {(10, 11, 12), (11, 12, 13)}


def test_openings_are_where_a_text_begins() -> None:
    paragraphs = [[np.arange(10, 14, dtype=np.int32), np.arange(20, 24, dtype=np.int32)]] * 4
    data = EncodedTitles([np.array([7], np.int32)] * 4, paragraphs)
    batches = ContrastivePairs(data, 4, 0, PairOptions(titles=0.0, length=3, openings=1.0))
    drawn = [batches.next_batch() for _ in range(8)]
    assert {tuple(row) for batch in drawn for row in batch["document"].tolist()} == {(10, 11, 12)}
    assert len({tuple(row) for batch in drawn for row in batch["query"].tolist()}) == 4


def test_foreign_spans_reach_the_last_token() -> None:
    documents = [np.arange(5, 12, dtype=np.int32), np.arange(105, 112, dtype=np.int32)]
    batches = MaskedPairs(documents, VOCABULARY, 64, 10, 0)
    seconds = [batches._spans(0, 0, np.random.default_rng(n)) for n in range(200)]
    assert {111} <= {int(token) for _, second, foreign in seconds if foreign for token in second[-1:]}
