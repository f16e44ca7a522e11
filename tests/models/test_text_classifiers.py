from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bottega.errors import InputError
from bottega.models.logistic_regression import LogisticRegressionConfig, TfidfRegression
from bottega.models.naive_bayes import NaiveBayes, NaiveBayesConfig

TEXTS = [
    "grind the blue colour",
    "mix the red colour",
    "cast the bronze bell",
    "pour the bronze",
    "ring a bell",
]
LABELS = ["paint", "paint", "metal", "metal", "metal"]

CASES = [
    pytest.param(NaiveBayes, NaiveBayesConfig(), id="naive Bayes"),
    pytest.param(NaiveBayes, NaiveBayesConfig(ngrams=2, alpha=0.5), id="naive Bayes of pairs"),
    pytest.param(TfidfRegression, LogisticRegressionConfig(), id="TF-IDF"),
    pytest.param(TfidfRegression, LogisticRegressionConfig(tfidf=False, ngrams=2), id="counts"),
]
every = pytest.mark.parametrize(("kind", "config"), CASES)


def test_naive_bayes_is_the_arithmetic_of_the_paper() -> None:
    model = NaiveBayes.fit(["a b", "b b", "c"], ["x", "x", "y"], NaiveBayesConfig())
    # Laplace: x has a once and b three times of 4 words, y has c once; three terms in all.
    x, y = 2 / 3 * (2 / 7) * (4 / 7), 1 / 3 * (1 / 4) * (1 / 4)
    np.testing.assert_allclose(model.predict_proba(["a b"]), [[x / (x + y), y / (x + y)]], rtol=1e-12)


@every
def test_rows_are_distributions_and_learned_texts_come_out_right(kind, config) -> None:
    model = kind.fit(TEXTS, LABELS, config)
    probabilities = model.predict_proba(TEXTS)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert [model.classes[i] for i in probabilities.argmax(axis=1)] == LABELS
    assert model.predict_proba([]).shape == (0, 2)


@every
@pytest.mark.parametrize("count", [2, 3])
def test_a_saved_model_gives_the_very_same_probabilities(kind, config, count: int, tmp_path: Path) -> None:
    labels = LABELS if count == 2 else [*LABELS[:4], "Glocke ü"]
    model = kind.fit(TEXTS, labels, config)
    model.save_pretrained(tmp_path / "model")
    again = kind.from_pretrained(tmp_path / "model")
    texts = [*TEXTS, "", "bronze colour", "marble"]
    assert again.classes == model.classes and again.config == model.config
    np.testing.assert_array_equal(again.predict_proba(texts), model.predict_proba(texts))
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_naive_bayes_falls_back_to_the_classes_own_shares_where_it_knows_no_word() -> None:
    model = NaiveBayes.fit(TEXTS, LABELS, NaiveBayesConfig())
    np.testing.assert_allclose(model.predict_proba(["", "marble statues", "?!"]), [[0.6, 0.4]] * 3)


def test_tfidf_vectors_have_length_one_or_zero(tmp_path: Path) -> None:
    model = TfidfRegression.fit(TEXTS, LABELS, LogisticRegressionConfig())
    rows = model.encode(["the bronze bell bell", "marble"])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 0], rtol=1e-6)
    assert model.encode([]).shape == (0, rows.shape[1])
    model.save_pretrained(tmp_path)
    np.testing.assert_array_equal(
        TfidfRegression.from_pretrained(tmp_path).encode(TEXTS), model.encode(TEXTS)
    )


@every
def test_empty_documents_among_others_are_learned_from(kind, config) -> None:
    model = kind.fit([*TEXTS, "", " \n"], [*LABELS, "paint", "metal"], config)
    assert model.predict_proba(["the bronze bell"]).argmax() == model.classes.index("metal")


@every
@pytest.mark.parametrize(
    ("texts", "labels", "says"),
    [
        (TEXTS, ["metal"] * 5, "all 5 texts are labelled 'metal'"),
        (TEXTS, LABELS[:4], "5 texts with 4 labels"),
        ([], [], "nothing to learn from"),
        (["", " ", "?!"], ["x", "y", "y"], "no word stands in 1 or more texts"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(kind, config, texts, labels, says: str) -> None:
    with pytest.raises(InputError, match=says):
        kind.fit(texts, labels, config)


@pytest.mark.parametrize("kind", [NaiveBayes, TfidfRegression])
def test_words_of_too_few_texts_alone_are_refused(kind) -> None:
    config = NaiveBayesConfig if kind is NaiveBayes else LogisticRegressionConfig
    with pytest.raises(InputError, match="in 9 or more texts"):
        kind.fit(TEXTS, LABELS, config(min_documents=9))


@pytest.mark.parametrize(
    "make",
    [
        lambda: NaiveBayesConfig(alpha=0),
        lambda: NaiveBayesConfig(alpha=float("nan")),
        lambda: NaiveBayesConfig(ngrams=0),
        lambda: LogisticRegressionConfig(inverse_penalty=-1),
        lambda: LogisticRegressionConfig(max_iterations=0),
        lambda: LogisticRegressionConfig(min_documents=0),
    ],
)
def test_senseless_values_are_refused(make) -> None:
    with pytest.raises(InputError, match=r"expected|needs"):
        make()


@every
@pytest.mark.parametrize("harm", ["no weights", "cut", "other shapes", "not finite", "no classes", "a field"])
def test_a_damaged_folder_is_named(kind, config, harm: str, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    kind.fit(TEXTS, LABELS, config).save_pretrained(tmp_path)
    weights, settings = tmp_path / "model.safetensors", tmp_path / "config.json"
    values = json.loads(settings.read_text())
    tensors = load_file(weights)
    name = sorted(tensors.keys() - {"terms"})[0]
    if harm == "no weights":
        weights.unlink()
    elif harm == "cut":
        weights.write_bytes(weights.read_bytes()[:-9])
    elif harm == "other shapes":
        save_file(tensors | {name: np.ones(3)}, weights)
    elif harm == "not finite":
        save_file(tensors | {name: tensors[name] * np.nan}, weights)
    elif harm == "no classes":
        settings.write_text(json.dumps(values | {"classes": ["metal"]}))
    else:
        settings.write_text(json.dumps(values | {"ngrams": 0}))
    with pytest.raises(InputError, match=str(tmp_path)):
        kind.from_pretrained(tmp_path)


def test_the_folder_of_another_model_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    NaiveBayes.fit(TEXTS, LABELS, NaiveBayesConfig()).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="bottega-naive-bayes"):
        TfidfRegression.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="another kind of model"):
        TfidfRegression.fit(TEXTS, LABELS, LogisticRegressionConfig()).save_pretrained(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        NaiveBayes.fit(TEXTS, LABELS, NaiveBayesConfig()).save_pretrained(tmp_path / "file")
