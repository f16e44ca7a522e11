"""LDA on a corpus whose topics are known, its folders, its seeds, Ctrl-C and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bottega.errors import InputError
from bottega.models.lda import LDA, LDAConfig, fold_in
from bottega.models.lda_gibbs import Gibbs, learnt_alpha
from bottega.models.lda_variational import OnlineBayes

SUBJECTS = [
    ["fresco", "pigment", "canvas", "portrait", "altar", "brush", "painter", "varnish"],
    ["cannon", "siege", "cavalry", "regiment", "trench", "battle", "fortress", "musket"],
    ["comet", "orbit", "planet", "telescope", "eclipse", "lens", "galaxy", "meteor"],
]
CONFIG = LDAConfig(3, reduce="none", stop_words=False, min_length=1, min_documents=1, max_share=1.0)
METHODS = [Gibbs(60), OnlineBayes(30, batch=16)]


def corpus(n: int = 60, seed: int = 0) -> list[str]:
    """Each document has 30 words, nine of ten from one subject."""
    rng = np.random.default_rng(seed)
    texts = []
    for number in range(n):
        subjects = rng.choice(3, 30, p=np.roll([0.9, 0.05, 0.05], number))
        texts.append(" ".join(rng.choice(SUBJECTS[subject]) for subject in subjects))
    return texts


@pytest.fixture(scope="module", params=METHODS, ids=["gibbs", "online"])
def model(request) -> LDA:
    return LDA.fit(corpus(), CONFIG, request.param)


def test_the_subjects_are_found(model: LDA) -> None:
    assert {frozenset(top) for top in model.top_words(8)} == set(map(frozenset, SUBJECTS))
    assert np.allclose(model.topics.sum(0), 1)
    assert model.share() == pytest.approx(np.full(3, 1 / 3), abs=0.05)


def test_mixtures_of_texts(model: LDA) -> None:
    theta = model.encode(
        ["comet orbit lens planet comet meteor", "siege cannon orbit comet", "", "unseen words"]
    )
    assert theta.shape == (4, 3) and theta.dtype == np.float32
    assert np.allclose(theta.sum(1), 1)
    assert theta[0].max() > 0.8
    assert sorted(theta[1])[1] > 0.3  # two subjects, about even
    assert theta[2] == pytest.approx(model.alpha / model.alpha.sum(), abs=1e-6)
    assert np.array_equal(theta[2], theta[3])


@pytest.mark.parametrize("inference", METHODS, ids=["gibbs", "online"])
def test_the_seed_decides(inference) -> None:
    first, again = (LDA.fit(corpus(12), CONFIG, inference) for _ in range(2))
    assert np.array_equal(first.weights, again.weights)
    other = LDA.fit(corpus(12), CONFIG, type(inference)(seed=2))
    assert not np.array_equal(first.weights, other.weights)


@pytest.mark.parametrize("inference", METHODS, ids=["gibbs", "online"])
def test_ctrl_c_keeps_the_topics_so_far(inference) -> None:
    def stop(done: int, _all: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    model = LDA.fit(corpus(), CONFIG, inference, stop)
    assert model.steps == 20
    assert {frozenset(top) for top in model.top_words(8)} == set(map(frozenset, SUBJECTS))


def test_counts_are_conserved_by_the_sampler() -> None:
    model = LDA.fit(corpus(), CONFIG, Gibbs(5, average=1))
    counts = model.weights - CONFIG.eta
    assert np.allclose(counts.sum(1), model.vocabulary.counts)
    assert counts.min() > -1e-6


def test_relevance_prefers_what_is_special_to_a_topic() -> None:
    texts = [f"{text} {'common ' * 15}" for text in corpus()]
    model = LDA.fit(texts, CONFIG, Gibbs(60))
    by_probability, by_relevance = model.top_words(1), model.top_words(8, relevance=0.0)
    assert ["common"] in by_probability
    assert not any("common" in top for top in by_relevance)


def test_alpha_is_learnt_as_the_likelihood_asks() -> None:
    rng = np.random.default_rng(3)
    truth = np.array([0.2, 1.0, 3.0])
    counts = np.array([rng.multinomial(400, rng.dirichlet(truth)) for _ in range(2000)], dtype=np.float32)
    alpha = np.ones(3)
    for _ in range(30):
        alpha = learnt_alpha(counts, alpha)
    assert alpha == pytest.approx(truth, rel=0.08)
    assert np.array_equal(learnt_alpha(np.zeros((2, 3), np.float32), truth), truth)


def test_folding_in_is_a_fixed_point() -> None:
    rng = np.random.default_rng(4)
    topics, alpha = rng.dirichlet(np.ones(20), 4).T, np.array([0.1, 0.5, 1.0, 0.2])
    words = rng.integers(0, 20, 50).astype(np.int32)
    (theta,) = fold_in([words], topics, alpha)
    shares = topics[words] * theta
    expected = alpha + (shares / shares.sum(1, keepdims=True)).sum(0)
    assert theta == pytest.approx(expected / expected.sum(), abs=1e-4)


def test_one_document_is_enough() -> None:
    model = LDA.fit(["fresco altar fresco brush"], CONFIG, Gibbs(5))
    assert model.encode(["fresco"]).shape == (1, 3)


def test_saved_and_loaded_it_is_the_same(model: LDA, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "lda")
    loaded = LDA.from_pretrained(tmp_path / "lda")
    assert loaded.config == model.config and loaded.vocabulary == model.vocabulary
    assert loaded.steps == model.steps
    assert np.array_equal(loaded.encode(corpus(3)), model.encode(corpus(3)))


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("model.safetensors", b"\0" * 40, "damaged"),
        ("model.safetensors", None, "lacks a file"),
        ("config.json", b"{", "damaged"),
        ("config.json", b'{"model_type": "bottega-hmm"}', "not a topic model"),
        ("config.json", b'{"model_type": "bottega-lda"}', "damaged"),
        ("vocabulary.json", b'["fresco"]', "weights has the shape"),
        ("vocabulary.json", b"[1, 2]", "not a list of words"),
        ("vocabulary.json", b"\xff\xfe", "damaged"),
    ],
)
def test_damaged_folders(file: str, content: bytes | None, said: str, tmp_path: Path) -> None:
    LDA.fit(corpus(6), CONFIG, Gibbs(2)).save_pretrained(tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=said):
        LDA.from_pretrained(tmp_path)


def test_a_changed_configuration_is_refused(tmp_path: Path) -> None:
    LDA.fit(corpus(6), CONFIG, Gibbs(2)).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | {"n_topics": 4}))
    with pytest.raises(InputError, match="shape"):
        LDA.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(settings | {"n_topics": "four"}))
    with pytest.raises(InputError, match="damaged"):
        LDA.from_pretrained(tmp_path)


@pytest.mark.parametrize("texts", [[], ["", " \n"], ["the of and"], ["rare words here"]])
def test_nothing_to_count(texts: list[str]) -> None:
    with pytest.raises(InputError, match="no word is left to count"):
        LDA.fit(texts, LDAConfig(2), Gibbs(1))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: LDAConfig(0), "needs topics"),
        (lambda: LDAConfig(alpha=0), "above 0"),
        (lambda: LDAConfig(eta=float("nan")), "above 0"),
        (lambda: LDAConfig(max_share=1.5), "a share above 0 up to 1"),
        (lambda: LDAConfig(min_documents=0), "1 or more"),
        (lambda: LDAConfig(max_words=0), "at least one"),
        (lambda: LDAConfig(language="german"), "no list of stop words"),
        (lambda: Gibbs(0), "at least 1 sweep"),
        (lambda: Gibbs(seed=-1), "nothing below 0"),
        (lambda: OnlineBayes(0), "at least 1 pass"),
        (lambda: OnlineBayes(decay=0.5), "above 0.5 to 1"),
    ],
)
def test_bad_settings(build, said: str) -> None:
    with pytest.raises(InputError, match=said):
        build()
