"""ARPA files: what goes out comes back, one written by hand is read right, a malformed one names its line."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bottega.errors import InputError
from bottega.models.arpa import byte_names
from bottega.models.ngram import NgramModel

END, A, B, C = range(4)
IDS = {"a": A, "b": B, "c": C}

# A pruned model such as other programs write: p(b | a) stands without a trigram, <unk> stands for c.
BY_HAND = r"""A line before the data is a comment.

\data\
ngram 1=5
ngram 2=3
ngram 3=1

\1-grams:
-1.0 <unk>
-99 <s> -0.5
-0.6 </s>
-0.4 a -0.2
-0.5 b

\2-grams:
-0.3 <s> a -0.1
-0.25 a b
-0.7 b </s> -0.9

\3-grams:
-0.05 <s> a b

\end\
"""


def read(path: Path, text: str) -> NgramModel:
    path.write_text(text, encoding="utf-8")
    return NgramModel.from_arpa(path, IDS.__getitem__, 4, END)


def test_a_file_written_by_hand(tmp_path: Path) -> None:
    model = read(tmp_path / "by-hand.arpa", BY_HAND)
    assert model.config.order == 3
    expected = {
        (A, B): [-0.3, -0.05, -0.7],  # every n-gram is listed; a b </s> backs off to it, without a weight
        (A, A): [-0.3, -0.1 - 0.2 - 0.4, -0.2 - 0.6],  # b(<s> a) b(a) p(a), then b(a) p(</s>)
        (C, B): [-0.5 - 1.0, -0.5, -0.7],  # b(<s>) p(<unk>), and nothing is known of c as a context
        (B,): [-0.5 - 0.5, -0.7],
    }
    for document, log10s in expected.items():
        np.testing.assert_allclose(model.log_probs(document) / math.log(10), log10s, rtol=1e-6)
    joined = [*expected[(A, B)], *expected[(A, A)]]  # the backoff of "b </s>" counts for nothing
    np.testing.assert_allclose(model.log_probs([A, B, END, A, A]) / math.log(10), joined, rtol=1e-6)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_what_is_written_is_read_back(tmp_path: Path, order: int) -> None:
    rng = np.random.default_rng(0)
    documents = [rng.integers(1, 11, size=rng.integers(1, 9)) for _ in range(80)]
    model = NgramModel.fit(documents, order, 12, 0)
    path = tmp_path / "model.arpa"
    model.to_arpa(path, lambda token: f"t{token}")
    back = NgramModel.from_arpa(path, lambda word: int(word[1:]), 12, 0)
    assert back.config == model.config
    for one, other in zip(model.levels, back.levels, strict=True):
        np.testing.assert_array_equal(one.keys, other.keys)
        np.testing.assert_allclose(one.log_prob, other.log_prob, rtol=1e-5)
        np.testing.assert_allclose(one.log_backoff, other.log_backoff, rtol=1e-5, atol=1e-6)
    assert [file.name for file in tmp_path.iterdir()] == ["model.arpa"]
    lines = path.read_text().splitlines()
    assert lines[0] == "\\data\\"
    assert lines[1] == "ngram 1=14"  # 11 words, <s>, </s>, <unk>
    assert lines[-1] == "\\end\\"


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("\\data\\\n", "", 7, r"expected \\data\\, found '\\1-grams:'"),
        ("ngram 2=3", "ngram 3=3", 5, "expected 'ngram 2=NUMBER', found 'ngram 3=3'"),
        ("ngram 2=3", "ngram 2=300000000000", 8, "300000000006 n-grams are announced"),
        ("ngram 2=3", "ngram 2=2", 18, "more 2-grams than the 2"),
        ("ngram 2=3", "ngram 2=4", 19, r"found '' \(4 2-grams were announced\)"),
        ("-0.4 a -0.2", "-0.4x a -0.2", 12, "'-0.4x' is not a number"),
        ("-0.4 a -0.2", "0.4 a -0.2", 12, "0.4 is no logarithm of a probability"),
        ("-0.4 a -0.2", "-0.4 a nan", 12, "nan is no logarithm of a backoff"),
        ("-0.4 a -0.2", "-0.4 q -0.2", 12, "the word 'q' is not in the vocabulary"),
        ("-0.4 a -0.2", "-0.4 b -0.2", 13, "the word 'b' is token 2, which an earlier line has"),
        ("-0.4 a -0.2", "-0.4", 12, "expected a log-probability, 1 word and perhaps a backoff, found"),
        ("-1.0 <unk>\n", "-1.0 c\n", None, None),  # every token is listed: no <unk> is needed
        ("-1.0 <unk>\n-99", "-99", 13, "expected a log-probability"),
        ("-0.25 a b", "-0.25 a q", 17, "the word 'q' is not a token among the 1-grams"),
        ("-0.25 a b", "-0.25 a <s>", 17, "<s> can only begin"),
        ("-0.25 a b", "-0.25 </s> b", 17, "</s> only end"),
        ("-0.25 a b", "-0.25 <s> a", 17, "an earlier line has the same n-gram"),
        ("-0.05 <s> a b", "-0.05 <s> b a", 21, "not listed as a context"),
        ("-0.05 <s> a b", "-0.05 <s> a b -0.1", 21, "expected a log-probability, 3 words, found"),
        ("\\3-grams:", "\\4-grams:", 20, r"expected \\3-grams:, found '\\4-grams:'"),
        ("\\end\\\n", "", 22, "the file ends here"),
        ("\\end\\\n", "\\4-grams:\n", 23, r"expected \\end\\"),
    ],
)
def test_a_malformed_file_is_refused_by_its_line(
    tmp_path: Path, old: str, new: str, line: int | None, message: str | None
) -> None:
    assert old in BY_HAND
    if message is None:
        read(tmp_path / "right.arpa", BY_HAND.replace(old, new))
        return
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / "wrong.arpa", BY_HAND.replace(old, new))
    assert f"wrong.arpa, line {line}: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tokens_that_neither_the_words_nor_unk_cover_are_refused(tmp_path: Path) -> None:
    text = BY_HAND.replace("-1.0 <unk>\n", "").replace("ngram 1=5", "ngram 1=4")
    with pytest.raises(InputError, match="1 of the 4 tokens are not among the 1-grams, nor is <unk>"):
        read(tmp_path / "wrong.arpa", text)


def test_files_that_are_not_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x81")
    for name, message in (("binary", "not UTF-8"), ("nowhere", "does not exist"), (".", "is a folder")):
        with pytest.raises(InputError, match=message):
            NgramModel.from_arpa(tmp_path / name, IDS.__getitem__, 4, END)


@pytest.mark.parametrize("name", ["", "a b", "<unk>", "\u00a0", "same"])
def test_names_that_are_no_words_are_refused(tmp_path: Path, name: str) -> None:
    model = NgramModel.fit([np.array([A, B])], 2, 4, END)
    with pytest.raises(InputError, match="named"):
        model.to_arpa(tmp_path / "model.arpa", lambda token: name if token != A else "same")
    assert list(tmp_path.iterdir()) == []


def test_nowhere_to_write(tmp_path: Path) -> None:
    model = NgramModel.fit([np.array([A, B])], 2, 4, END)
    for path in (tmp_path, tmp_path / "nowhere" / "model.arpa"):
        with pytest.raises(InputError, match="name another"):
            model.to_arpa(path, "_abc".__getitem__)


def test_byte_names_are_words_each_of_its_own() -> None:
    contents = [b" the", b"\n", b"<s>", b"", b"<s>", b"\xc3\xa9", b"\xc3", *(bytes([i]) for i in range(256))]
    names = byte_names(contents)
    assert names[:7] == ["Ġthe", "Ċ", "<s>#2", "#3", "<s>#4", "Ã©", "Ã"]
    assert len(set(names)) == len(contents)
    assert all(len(name.split()) == 1 and name.isprintable() for name in names)
