"""The presets of BERT and of the sentence encoder, from a folder of texts to a model that opens again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bottega.errors import InputError
from bottega.models.bert import BERT, BERTClassifier, BERTConfig
from bottega.models.load import load
from bottega.models.sentence_encoder import SentenceEncoder, SentenceEncoderConfig
from bottega.recipes.bert import ClassifierShape, FineTuning, finetune_classifier, pretrain_bert
from bottega.recipes.sentence_encoder import train_sentence_encoder
from bottega.training.config import TrainingConfig

OPTIONS = TrainingConfig(
    steps=3, batch_size=8, optimizer="adamw", warmup_steps=1, precision="fp32", compile="off"
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    words = [
        "apprentice",
        "master",
        "colours",
        "glue",
        "angel",
        "floor",
        "hand",
        "workshop",
        "morning",
        "panel",
    ]
    for n in range(200):
        about = f"{words[n % 10]} {n}"
        line = " ".join(f"the {words[(n * k) % 10]} of {about}" for k in range(1, 15))
        (folder / f"{n}.txt").write_text(f"{about}\n\n{line}\n{line} again\n")
    return folder


def test_a_sentence_encoder(texts: Path, tmp_path: Path) -> None:
    shape = SentenceEncoderConfig(200, 64, n_embd=16)
    said = train_sentence_encoder(shape, (str(texts),), tmp_path / "run", OPTIONS, None)
    assert "3 steps" in said and "recall@1" in said and "a paragraph without the title's words" in said
    model = load(tmp_path / "run")
    assert isinstance(model, SentenceEncoder) and model.encode(["glue 7"]).shape == (1, 16)
    with_layers = replace(shape, n_layer=1, n_head=2)
    train_sentence_encoder(with_layers, (str(texts),), tmp_path / "layers", OPTIONS, None)
    assert load(tmp_path / "layers").tokenize(["glue"])[0][0] == 2  # [CLS]


def test_bert_and_a_classifier_over_it(texts: Path, tmp_path: Path) -> None:
    shape = BERTConfig(200, 32, 1, 2, 16)
    assert "3 steps" in pretrain_bert(shape, (str(texts),), tmp_path / "bert", OPTIONS, None)
    assert isinstance(load(tmp_path / "bert"), BERT)
    rows = [f"{word} {n}\t{label}" for n in range(60) for word, label in (("glue", "a"), ("angel", "b"))]
    (tmp_path / "labelled.tsv").write_text("\n".join(rows) + "\n")
    options = FineTuning(
        steps=3,
        batch_size=8,
        optimizer="adamw",
        precision="fp32",
        compile="off",
        model=str(tmp_path / "bert"),
    )
    data = (str(tmp_path / "labelled.tsv"),)
    said = finetune_classifier(ClassifierShape(), data, tmp_path / "classifier", options, None)
    assert "2 classes" in said and "right" in said
    model = load(tmp_path / "classifier")
    assert isinstance(model, BERTClassifier) and list(model.classes) == ["a", "b"]
    with pytest.raises(InputError, match="--model"):
        finetune_classifier(ClassifierShape(), data, tmp_path / "none", replace(options, model=""), None)
