"""Word2Vec on sentences whose answer is known; its folders and its bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bottega.errors import InputError
from bottega.models import word2vec_steps
from bottega.models.word2vec import Corpus, Word2Vec, Word2VecConfig, Word2VecTraining, _alias_table

RNG = np.random.default_rng(0)
TOPICS = [["apple", "pear", "plum", "fig"], ["oak", "elm", "ash", "fir"], ["lute", "harp", "drum", "fife"]]
SENTENCES = [list(RNG.choice(TOPICS[RNG.integers(3)], 8)) for _ in range(400)]
SMALL = Word2VecConfig(width=16, min_count=1, subsample=0, window=3)
LONGER = Word2VecTraining(epochs=10, rate=0.05)


@pytest.fixture(scope="module")
def model() -> Word2Vec:
    return Word2Vec.fit(SENTENCES, SMALL, LONGER)


@pytest.mark.parametrize("architecture", ["skip-gram", "cbow"])
def test_words_of_like_neighbours_are_near(architecture: str) -> None:
    config = Word2VecConfig(16, architecture, 3, min_count=1, subsample=0)  # type: ignore[arg-type]
    model = Word2Vec.fit(SENTENCES, config, LONGER)
    for topic in TOPICS:
        for word in topic:
            assert {near for near, _ in model.neighbours(word, 3)} == set(topic) - {word}
    assert model.similarity("oak", "elm") > model.similarity("oak", "drum") + 0.3
    assert model.similarity("oak", "oak") == pytest.approx(1)


def test_one_thread_repeats_itself_and_two_learn_as_well(model: Word2Vec) -> None:
    again = Word2Vec.fit(SENTENCES, SMALL, LONGER)
    assert np.array_equal(again.vectors, model.vectors)
    other = Word2Vec.fit(SENTENCES, SMALL, Word2VecTraining(epochs=10, rate=0.05, seed=1))
    assert not np.array_equal(other.vectors, model.vectors)
    long = SENTENCES * 10  # so that both threads have a stretch at a time
    both = Word2Vec.fit(long, SMALL, Word2VecTraining(epochs=1, rate=0.05, threads=2))
    assert {near for near, _ in both.neighbours("lute", 3)} == {"harp", "drum", "fife"}


def test_a_step_is_the_gradient_of_equation_4() -> None:
    """One pair and its negatives, against the formula written out in NumPy."""
    rng = np.random.default_rng(4)
    vectors, contexts = rng.normal(size=(2, 3, 5)).astype(np.float32)
    v, u = vectors.astype(np.float64), contexts.astype(np.float64)
    ids, starts = np.array([0, 1], np.int32), np.array([0, 2])
    keep = np.full(3, 2**32 - 1, np.uint32)
    alias = np.array([[0, 2]] * 3, np.uint32)  # every negative is the word 2
    word2vec_steps.skip_gram(ids, starts, keep, alias, vectors, contexts, 1, 2, 0.1, np.uint64(9))
    for centre, neighbour in ((0, 1), (1, 0)):
        gradient = np.zeros(5)
        for target, label in ((neighbour, 1), (2, 0), (2, 0)):
            step = 0.1 * (label - 1 / (1 + np.exp(-v[centre] @ u[target])))
            gradient += step * u[target]
            u[target] += step * v[centre]
        v[centre] += gradient
    assert np.allclose(vectors, v, atol=1e-5)
    assert np.allclose(contexts, u, atol=1e-5)


def test_negatives_are_drawn_by_their_counts_to_three_quarters() -> None:
    counts = np.array([1000, 100, 10, 1])
    table = _alias_table(counts**0.75)
    kept = table[:, 0] / (2**32 - 1)
    chance = np.array([kept[i] + sum((1 - kept)[table[:, 1] == i]) for i in range(4)]) / 4
    # A slot that is its own alias is counted twice above only in the share that it gives to itself.
    assert chance == pytest.approx(counts**0.75 / (counts**0.75).sum(), abs=1e-6)


def test_frequent_words_are_thinned_out() -> None:
    model, _ = Word2Vec.drawn([["the"] * 900 + ["harp"] * 100], Word2VecConfig(subsample=0.01, min_count=1))
    keep = model._keep() / 2**32
    assert keep == pytest.approx([(np.sqrt(f / 0.01) + 1) * 0.01 / f for f in (0.9, 0.1)], abs=1e-6)
    everything, _ = Word2Vec.drawn([["a", "b"]], Word2VecConfig(subsample=0, min_count=1))
    assert (everything._keep() == 2**32 - 1).all()


def test_rare_words_leave_the_sentence_and_empty_sentences_do_no_harm() -> None:
    model, corpus = Word2Vec.drawn(
        [[], ["b", "x", "a", "b"], [], ["a", "b"], []], Word2VecConfig(min_count=2)
    )
    assert model.words == ["b", "a"] and model.counts.tolist() == [3, 2]
    assert corpus.ids.tolist() == [0, 1, 0, 1, 0]
    assert corpus.starts.tolist() == [0, 0, 3, 3, 5, 5]
    model.learn(corpus, Word2VecTraining(epochs=2))


def test_analogies_and_texts(model: Word2Vec) -> None:
    vectors = np.eye(5, 8, dtype=np.float32)
    vectors[3], vectors[4] = vectors[1] - vectors[0] + vectors[2], -vectors[0]
    config = Word2VecConfig(8)
    few = Word2Vec(config, ["man", "king", "woman", "queen", "fig"], np.arange(5)[::-1], vectors, vectors)
    assert few.analogy("man", "king", "woman")[0] == ("queen", pytest.approx(1))
    encoded = model.encode(["Oak, elm and ash.", "An oak!", "", "unseen"])
    assert encoded.shape == (4, 16) and encoded.dtype == np.float32
    assert encoded[1] == pytest.approx(model.vector("oak") / np.linalg.norm(model.vector("oak")), abs=1e-5)
    assert not encoded[2:].any()


def test_saved_and_loaded_it_is_the_same(model: Word2Vec, tmp_path: Path) -> None:
    folder = tmp_path / "words"
    model.save_pretrained(folder)
    again = Word2Vec.from_pretrained(folder)
    assert again.config == model.config and again.words == model.words
    assert np.array_equal(again.vectors, model.vectors) and np.array_equal(again.contexts, model.contexts)
    words = folder / "vocabulary.json"
    words.write_text(json.dumps(model.words[:-1]))
    with pytest.raises(InputError, match="damaged"):
        Word2Vec.from_pretrained(folder)
    words.write_bytes(b"[\xff")
    with pytest.raises(InputError, match="damaged"):
        Word2Vec.from_pretrained(folder)
    words.unlink()
    with pytest.raises(InputError, match=r"vocabulary\.json is missing"):
        Word2Vec.from_pretrained(folder)


@pytest.mark.parametrize("cut", [0, 7, 100])
def test_a_cut_file_of_weights_is_told(model: Word2Vec, tmp_path: Path, cut: int) -> None:
    model.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:cut])
    with pytest.raises(InputError, match="damaged"):
        Word2Vec.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bottega-hmm"}')
    with pytest.raises(InputError, match="bottega-hmm"):
        Word2Vec.from_pretrained(tmp_path)


def test_words_that_are_not_known_come_with_suggestions(model: Word2Vec) -> None:
    with pytest.raises(InputError, match="'appel' is not among the 12 of this model; did you mean apple"):
        model.neighbours("appel")
    with pytest.raises(InputError, match=r"'zzz' is not among the 12 of this model$"):
        model.similarity("oak", "zzz")


@pytest.mark.parametrize("sentences", [[], [[]], [["alone"] * 9], [["once", "upon", "a", "time"]]])
def test_too_few_words(sentences: list[list[str]]) -> None:
    with pytest.raises(InputError, match=r"words occur at least 5 times; Word2Vec needs two or more"):
        Word2Vec.fit(sentences)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Word2VecConfig(width=0), "at least 1"),
        (lambda: Word2VecConfig(subsample=2.0), "a share"),
        (lambda: Word2VecTraining(epochs=0), "at least 1"),
        (lambda: Word2VecTraining(rate=0.01, final_rate=0.1), "falls"),
    ],
)
def test_senseless_settings(make, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


def test_a_rate_too_great_is_told() -> None:
    with pytest.raises(InputError, match="smaller"):
        Word2Vec.fit(SENTENCES, SMALL, Word2VecTraining(rate=1e30))


def test_ctrl_c_leaves_the_vectors_as_far_as_they_came() -> None:
    model, corpus = Word2Vec.drawn(SENTENCES, SMALL)
    before = model.vectors.copy()

    def stop(done: int, total: int) -> None:
        assert 0 < done < total == 10 * len(corpus.ids)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.learn(corpus, LONGER, stop)
    assert isinstance(corpus, Corpus) and not np.array_equal(model.vectors, before)
    assert np.isfinite(model.vectors).all()
