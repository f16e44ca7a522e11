"""Text to words, words to a vocabulary, documents to counts."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from bottega.errors import InputError
from bottega.text.words import Preparation, Vocabulary, bag_of_words, words

TEXT = "The studies of Caesar’s geese weren't long: in 1990, 3 mice_ate l'été."


def test_words_keep_apostrophes_inside_and_lose_punctuation() -> None:
    found = words(TEXT)
    assert found[:6] == ["the", "studies", "of", "caesar's", "geese", "weren't"]
    assert found[-5:] == ["1990", "3", "mice", "ate", "l'été"]
    assert words(TEXT, lower=False)[0] == "The"
    assert words(" \n…—!") == words("") == []


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [
        ("none", ["studies", "caesar", "geese", "weren", "long", "mice", "ate"]),
        ("stem", ["studi", "caesar", "gees", "weren", "long", "mice", "ate"]),
        ("lemma", ["study", "caesar", "goose", "long", "mouse", "eat"]),
    ],
)
def test_preparation_drops_what_says_little_and_reduces_the_rest(reduce, expected) -> None:
    assert Preparation(reduce, stop_words=True, min_length=3)(TEXT) == expected


def test_without_options_every_word_is_kept() -> None:
    assert Preparation()(TEXT) == words(TEXT)


def test_other_languages_have_stems_and_lemmas() -> None:
    assert Preparation("lemma", "german")("Häuser") == ["haus"]
    assert Preparation("stem", "french")("continuellement") == ["continuel"]


def test_vocabulary_is_sorted_by_frequency_and_cut_by_documents() -> None:
    documents = [["a", "b", "a", "the"], ["c", "a", "the"], ["the", "d", "d", "d"], []]
    assert Vocabulary.build(documents).words == ("a", "d", "the", "b", "c")
    assert Vocabulary.build(documents, min_documents=2).words == ("a", "the")
    assert Vocabulary.build(documents, max_share=0.5).words == ("a", "d", "b", "c")
    assert Vocabulary.build(documents, min_count=2, size=2).words == ("a", "d")
    assert Vocabulary.build([]).words == ()


def test_ids_and_counts_leave_unseen_words_out() -> None:
    vocabulary = Vocabulary.build([["a", "b", "a"], ["c", "a"]])
    assert vocabulary.ids(["c", "unseen", "a"]).tolist() == [2, 0]
    assert vocabulary.ids(["unseen"]).dtype == np.int32
    counts = bag_of_words([["a", "unseen", "a"], []], vocabulary)
    assert counts.toarray().tolist() == [[2, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"reduce": "cut"}, "none, stem or lemma"),
        ({"language": "etruscan"}, "there are danish"),
        ({"language": "german", "stop_words": True}, "no list of stop words for german"),
        ({"min_length": 0}, "is 1, not 0"),
    ],
)
def test_bad_settings(settings: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Preparation(**settings)


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, bottega.text.words; print({'torch', 'sklearn', 'simplemma'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"
