"""Splits: decided by the text, of the promised size, and with no copy across."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottega.data.corpus import open_corpus
from bottega.data.documents import Document, read_documents
from bottega.data.near_duplicates import _rolling_hashes, without_copies
from bottega.data.splits import hold_out, split_documents
from bottega.errors import InputError

WORDS = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "l", "n", "r", "st")]


def prose(seed: int, words: int = 300) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(words))


def documents(count: int, words: int = 300) -> list[Document]:
    return [Document(prose(seed, words), f"document {seed}") for seed in range(count)]


def test_every_document_is_on_one_side_in_its_order() -> None:
    docs = documents(2000, 30)
    training, held = split_documents(docs, 0.05)
    assert sorted([*training, *held], key=docs.index) == docs
    assert training == sorted(training, key=docs.index) and held == sorted(held, key=docs.index)
    assert 60 < len(held) < 140


def test_a_document_keeps_its_side_whatever_else_is_in_the_corpus() -> None:
    docs = documents(1000, 30)
    _, held = split_documents(docs, 0.05)
    _, held_of_more = split_documents(documents(3000, 30)[::-1], 0.05)
    assert set(held) <= set(held_of_more)
    assert set(hold_out(docs, 0.05, seed=1)) != set(held)


def test_small_corpora_give_more_and_large_ones_no_more_than_two_megabytes() -> None:
    def share(docs: list[Document]) -> tuple[float, int]:
        size = sum(len(d.text) for d in hold_out(docs))
        return size / sum(len(d.text) for d in docs), size

    assert 0.06 < share(documents(300))[0] < 0.14  # 0.3 MB: a tenth
    assert 60_000 < share(documents(3000))[1] < 140_000  # 3 MB: 100 kB
    large = [Document(f"{n} " + "x" * 100_000, str(n)) for n in range(5000)]  # 500 MB: 2 MB
    assert 1_000_000 < share(large)[1] < 3_500_000


def test_a_single_document_is_cut_so_that_both_sides_get_some() -> None:
    text = "\n\n".join(prose(n, 40) for n in range(100))
    training, held = split_documents([Document(text, "book")])
    assert held and training
    assert len(held) < len(training)
    assert sorted(d.text for d in [*training, *held]) != [text]
    assert sum(len(d.text) for d in [*training, *held]) == len(text)
    assert held[0].name.startswith("book, piece ")


def test_too_small_and_too_repetitive_corpora_are_refused() -> None:
    with pytest.raises(InputError, match="corpus too small to hold anything out: 5 characters in 1 document"):
        split_documents([Document("short", "s")])
    with pytest.raises(InputError, match="corpus too small"):
        split_documents([])
    with pytest.raises(InputError, match="too repetitive"):
        split_documents([Document("All work and no play makes Jack a dull boy.\n" * 500, "novel")])


def test_near_copies_of_held_out_documents_leave_training() -> None:
    held = documents(5)
    edited = held[0].text.split()
    edited[::40] = ["CHANGED"] * len(edited[::40])  # one word in forty
    copies = [
        Document(held[1].text, "exact"),
        Document(held[2].text.upper().replace(" ", "\n   "), "laid out anew"),
        Document(" ".join(edited), "edited"),
        Document(prose(100, 3000) + held[3].text + prose(101, 3000), "inside a longer text"),
        Document(held[4].text[:900], "a part"),
    ]
    others = [Document(prose(seed), f"other {seed}") for seed in range(200, 260)]
    quoting = Document(prose(300) + held[0].text[:200] + prose(301), "quotes a sentence")
    mixed = [*others[:30], *copies, quoting, *others[30:]]
    assert list(without_copies(mixed, held)) == [*others[:30], quoting, *others[30:]]


def test_a_patchwork_of_held_out_documents_is_a_copy() -> None:
    held = documents(8)
    patchwork = Document(" ".join(d.text[:300] for d in held) + prose(50, 200), "patchwork")
    assert list(without_copies([patchwork, Document(prose(51), "own")], held)) == [Document(prose(51), "own")]


def test_a_shingle_does_not_reach_into_the_next_document() -> None:
    held = [Document("a workshop of Florence", "1"), Document("painted these angels", "2")]
    both = Document(held[0].text + held[1].text, "3")
    assert list(without_copies([both], held)) == [both]


@given(st.permutations(b"The master paints a door in blue"))
def test_shingles_tell_the_order_of_their_letters(letters: list[int]) -> None:
    original = np.frombuffer(b"The master paints a door in blue", np.uint8)
    shuffled = np.array(letters, np.uint8)
    same = np.array_equal(original, shuffled)
    assert np.array_equal(_rolling_hashes(original), _rolling_hashes(shuffled)) == same
    swapped = original.copy()
    swapped[[1, 2]] = original[[2, 1]]
    assert _rolling_hashes(original) != _rolling_hashes(swapped)


def test_one_document_at_least_is_held_out() -> None:
    training, held = split_documents(documents(100), 0.0001)
    assert len(held) == 1 and len(training) == 99


def test_boilerplate_that_many_share_is_no_copy() -> None:
    licence = prose(999, 120)
    docs = [Document(licence + prose(seed, 100), str(seed)) for seed in range(400)]
    training, held = split_documents(docs, 0.1)
    assert len(training) + len(held) == 400


def test_texts_shorter_than_a_shingle_are_kept_apart_by_their_hash() -> None:
    docs = [Document(f"tiny {n % 50}", str(n)) for n in range(500)]
    training, held = split_documents(docs, 0.2)
    assert held and {d.text for d in training}.isdisjoint(d.text for d in held)


def test_without_anything_held_out_everything_stays() -> None:
    docs = documents(3)
    assert list(without_copies(docs, [])) == docs
    assert list(without_copies([], docs)) == []


def test_no_copy_crosses_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bottega.data.near_duplicates._BATCH", 5000)
    docs = documents(50)
    mixed = [d for pair in zip(docs, documents(100)[50:], strict=True) for d in pair]
    assert list(without_copies(mixed, docs)) == documents(100)[50:]


def test_open_corpus_streams_what_split_documents_lists(tmp_path: Path) -> None:
    for document in documents(60):
        (tmp_path / f"{document.name}.txt").write_text(document.text)
    (tmp_path / "zero.bin").write_bytes(bytes(5))
    reports: list[str] = []
    training, held = open_corpus([str(tmp_path)], held_out=0.1, report=reports.append)
    listed = split_documents(read_documents([tmp_path]), 0.1)
    assert (list(training), held) == listed
    assert len(reports) == 1  # though the folder is read twice
    everything, nothing = open_corpus([str(tmp_path)], held_out=0, report=reports.append)
    assert len(list(everything)) == 60 and nothing == []
    with pytest.raises(InputError, match="held-out share"):
        open_corpus([str(tmp_path)], held_out=1.5, report=reports.append)
    with pytest.raises(InputError, match="its own split by module"):
        open_corpus(["embedded"], held_out=0.1, report=reports.append)


def test_real_articles_are_split(shared_data: Path) -> None:
    source = shared_data / "text" / "wikipedia-good.jsonl.xz"
    training, held = split_documents(read_documents([source]))
    assert 1900 < len(training) + len(held) <= 1980
    assert 150_000 < sum(len(d.text) for d in held) < 700_000
