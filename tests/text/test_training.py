"""Training: deterministic, streamed, exact about the size, and the same as Sennrich's algorithm by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bottega.errors import InputError
from bottega.text.tokenizer import Tokenizer
from bottega.text.training import SPECIAL_TOKENS, pieces


def merges_by_hand(words: Counter[str], n: int) -> list[bytes]:
    """Sennrich et al. 2016, algorithm 1, on bytes; of pairs as frequent, the one with the lower ids."""
    order = [bytes([b]) for b in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))]
    order += [bytes([b]) for b in range(256) if bytes([b]) not in order]
    split = {word: [bytes([b]) for b in word.encode()] for word in words}
    learned: list[bytes] = []
    for _ in range(n):
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, parts in split.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], *map((order + learned).index, pair)))
        learned.append(best[0] + best[1])
        for parts in split.values():
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == best:
                    parts[i : i + 2] = [best[0] + best[1]]
                i += 1
    return learned


def test_the_merges_are_those_of_the_algorithm():
    text = "low low low low low lower lower newest newest newest newest newest newest widest widest widest"
    words = Counter([text.split()[0]] + [" " + word for word in text.split()[1:]])
    trained = Tokenizer.train([text], 256 + 12 + len(SPECIAL_TOKENS))
    assert [trained.token_bytes(id) for id in range(256, 268)] == merges_by_hand(words, 12)


def test_the_vocabulary_is_bytes_then_merges_then_special_tokens(tokenizer):
    assert tokenizer.vocab_size == 400
    assert sorted(tokenizer.token_bytes(id) for id in range(256)) == [bytes([b]) for b in range(256)]
    assert tokenizer.special_tokens == {token: 394 + i for i, token in enumerate(SPECIAL_TOKENS)}
    assert tokenizer.end_of_text == 394
    assert len({tokenizer.token_bytes(id) for id in range(400)}) == 400


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k"])
def test_training_again_gives_the_same_bytes_whatever_the_threads(corpus, tmp_path, pattern):
    code = (
        "import sys; from pathlib import Path; from bottega.text.tokenizer import Tokenizer\n"
        "Tokenizer.train(sys.stdin.read().split('@'), 450, sys.argv[1]).save(sys.argv[2])"
    )
    for threads in ("1", "3"):
        subprocess.run(
            [sys.executable, "-c", code, pattern, str(tmp_path / threads)],
            input="@".join(corpus).encode(),
            env=os.environ | {"RAYON_NUM_THREADS": threads, "PYTHONUTF8": "1"},
            check=True,
        )
    one, three = (tmp_path / threads / "tokenizer.json" for threads in ("1", "3"))
    assert one.read_bytes() == three.read_bytes()


def test_the_patterns_split_differently(corpus):
    gpt2, cl100k = (Tokenizer.train(["x12345 it'S\n\n"] * 50, 268, name) for name in ("gpt2", "cl100k"))
    assert gpt2.encode("12345") != cl100k.encode("12345")
    with pytest.raises(InputError, match="gpt2, cl100k"):
        Tokenizer.train(corpus, 400, "o200k")


@pytest.mark.parametrize("documents", [[], [""], ["", ""]])
def test_no_text_is_refused(documents):
    with pytest.raises(InputError, match="no text"):
        Tokenizer.train(documents, 300)


def test_a_vocabulary_larger_than_the_data_gives_is_refused_with_the_number(corpus):
    with pytest.raises(InputError, match=r"only (\d+) tokens") as refusal:
        Tokenizer.train(corpus, 100_000)
    most = int(str(refusal.value).split("only ")[1].split()[0])
    assert Tokenizer.train(corpus, most).vocab_size == most
    with pytest.raises(InputError, match=f"only {most} tokens"):
        Tokenizer.train(corpus, most + 1)


def test_a_vocabulary_without_room_for_the_bytes_is_refused(corpus):
    with pytest.raises(InputError, match="262"):
        Tokenizer.train(corpus, 261)
    assert Tokenizer.train(corpus, 262).vocab_size == 262


def test_documents_are_read_one_by_one_and_their_errors_come_through():
    def documents():
        yield "some text"
        raise InputError("books/2.txt: is damaged")

    with pytest.raises(InputError, match=r"books/2\.txt"):
        Tokenizer.train(documents(), 300)


@pytest.mark.parametrize("text", ["a" * 1_000_000, " " * 1_000_000 + "x", "abcdefghij" * 100_000])
def test_a_megabyte_without_a_space_is_trained_on_in_seconds(text):
    start = time.perf_counter()
    Tokenizer.train([text, "some words of prose and some more words of prose"], 266)
    assert time.perf_counter() - start < 100  # in one piece it would take longer


def test_no_token_grows_without_bound():
    trained = Tokenizer.train(["=" * 5000, "-" * 5000], 274)
    assert max(len(trained.token_bytes(id)) for id in range(268)) <= 128


@given(st.text("ab1.\n\t\r '\x1c\u3000é中", min_size=1, max_size=40))
@example("a" + " " * 10)
def test_pieces_are_the_text_cut_only_between_words(tokenizer, seed):
    text = seed * (20_000 // len(seed))
    cut = list(pieces(text))
    assert "".join(cut) == text
    assert all(len(piece) <= 8192 for piece in cut)
    if all(len(piece) < 8192 for piece in cut):
        assert [id for piece in cut for id in tokenizer.encode(piece)] == tokenizer.encode(text)
