"""BERT: its published sizes, what it learns, what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from bottega.errors import InputError
from bottega.models.abilities import Classifies, Encodes
from bottega.models.bert import BERT, BERTClassifier, BERTConfig, classifier_from, read_encoder, shortened
from bottega.models.load import load, load_wordpiece, sizes
from bottega.models.sentence_encoder import IDF_POWER, SentenceEncoder, SentenceEncoderConfig
from bottega.nn.loss import IGNORE
from bottega.recipes.bert import PRESETS
from bottega.text.wordpiece import WordPiece

TEXTS = ["The apprentice ground the colours.", "The master drew the hand of the angel.", "glue"]
TINY = BERTConfig(60, 16, n_layer=2, n_head=2, n_embd=16, dropout=0.0)


@pytest.fixture
def tokenizer() -> WordPiece:
    return WordPiece.train(TEXTS * 5, 120)


@pytest.mark.parametrize(
    ("name", "encoder", "heads"),
    [("bert-base", 109_482_240, 624_188), ("bert-large", 335_141_888, 1_084_220)],
)
def test_published_parameter_counts(name: str, encoder: int, heads: int) -> None:
    with torch.device("meta"):
        model = BERT(PRESETS[name].shape)
    assert sum(p.numel() for p in model.encoder.parameters()) == encoder
    assert model.n_parameters() == encoder + heads


def test_it_overfits_its_two_tasks() -> None:
    torch.manual_seed(0)
    model = BERT(TINY)
    ids = torch.tensor([[2, 4, 10, 11, 3, 12, 3, 0], [2, 4, 20, 21, 3, 22, 23, 3]])
    targets = torch.full_like(ids, IGNORE)
    targets[:, 1] = torch.tensor([30, 40])
    segments = torch.tensor([[0] * 5 + [1] * 3] * 2)
    batch = {"ids": ids, "segments": segments, "targets": targets, "next": torch.tensor([0, 1])}
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        loss = model.loss(batch)
        optimizer.zero_grad()
        loss.mean.backward()
        optimizer.step()
    assert float(loss.mean) < 0.5 and int(loss.metrics["accuracy"]) == 2
    assert model.follows(ids, segments).argmax(-1).tolist() == [0, 1]


def test_padding_changes_nothing() -> None:
    model = BERT(TINY).eval()
    row = torch.tensor([[2, 10, 11, 3]])
    padded = torch.tensor([[2, 10, 11, 3, 0, 0, 0], [2, 9, 9, 9, 9, 9, 3]])
    torch.testing.assert_close(model(padded)[:1, :4], model(row))


def test_attention_looks_both_ways() -> None:
    table = BERT(TINY).eval().attention(torch.tensor([2, 10, 11, 3]))["self"]
    assert table.shape == (2, 2, 4, 4)
    torch.testing.assert_close(table.sum(-1), torch.ones(2, 2, 4))
    assert float(table[..., 0, 1:].min()) > 0


def test_a_classifier_goes_to_disk_and_back(tmp_path: Path, tokenizer: WordPiece) -> None:
    BERT(BERTConfig(tokenizer.vocab_size, 16, 1, 2, 16)).save_pretrained(tmp_path / "bert")
    model = classifier_from(tmp_path / "bert", ["drawing", "grinding", "other"]).eval()
    model.tokenizer = tokenizer
    model.save_pretrained(tmp_path / "classifier")
    again = load(tmp_path / "classifier")
    assert isinstance(again, BERTClassifier) and isinstance(again, Classifies)
    assert list(again.classes) == ["drawing", "grinding", "other"]
    found = again.predict_proba([*TEXTS, "word " * 100, ""])
    assert found.shape == (5, 3)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(found[:3], model.predict_proba(TEXTS), atol=1e-5)
    np.testing.assert_allclose(found[0], again.predict_proba(TEXTS[:1])[0], atol=1e-5)


def test_a_text_that_is_cut_keeps_its_end() -> None:
    assert [shortened([2, 7, 8, 9, 3], longest) for longest in (3, 4, 5, 6)] == [
        [2, 7, 3],
        [2, 7, 8, 3],
        [2, 7, 8, 9, 3],
        [2, 7, 8, 9, 3],
    ]


def test_the_class_follows_from_the_folder(tmp_path: Path, tokenizer: WordPiece) -> None:
    BERT(TINY).save_pretrained(tmp_path / "bert")
    assert isinstance(load(tmp_path / "bert"), BERT)
    for layers in (0, 1):
        config = SentenceEncoderConfig(tokenizer.vocab_size, 16, layers, 2, 8, temperature=0.1)
        model = SentenceEncoder(config, tokenizer).eval()
        model.save_pretrained(tmp_path / str(layers))
        again = load(tmp_path / str(layers))
        assert isinstance(again, SentenceEncoder) and isinstance(again, Encodes)
        assert again.config.temperature == 0.1
        np.testing.assert_allclose(again.encode(TEXTS), model.encode(TEXTS), atol=1e-6)
        assert again.encode([]).shape == (0, 8)


def test_an_encoder_without_layers_begins_as_tfidf(tokenizer: WordPiece) -> None:
    torch.manual_seed(0)
    model = SentenceEncoder(SentenceEncoderConfig(tokenizer.vocab_size, n_embd=4096), tokenizer)
    seen = torch.arange(tokenizer.vocab_size) % 7
    model.begin_as_tfidf(seen, 10)
    vectors = np.zeros((len(TEXTS), tokenizer.vocab_size))
    for row, ids in enumerate(model.tokenize(TEXTS)):
        np.add.at(vectors[row], ids, np.log(11 / (1 + seen.numpy()[ids])) ** IDF_POWER)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = model.encode(TEXTS)
    np.testing.assert_allclose(found @ found.T, vectors @ vectors.T, atol=0.06)


def test_a_mean_of_logarithmic_counts_is_that_of_scikit_learn(tokenizer: WordPiece, tmp_path: Path) -> None:
    size = tokenizer.vocab_size
    texts = ["glue, glue and glue: the colours of the floor", "the floor", "the the the the morning"]
    config = SentenceEncoderConfig(size, n_embd=size, n_head=1, pooling="log-mean")
    model = SentenceEncoder(config, tokenizer)
    rows = model.tokenize(texts)
    vectors = TfidfVectorizer(
        analyzer=lambda ids: ids, vocabulary=range(size), lowercase=False, sublinear_tf=True
    )
    expected = vectors.fit_transform(rows).toarray()
    model.table.weight.data = torch.diag(torch.from_numpy(vectors.idf_).float())
    np.testing.assert_allclose(model.encode(texts), expected, atol=1e-6)
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert again.config.pooling == "log-mean" and sizes(tmp_path) == (512, size, size)
    np.testing.assert_array_equal(again.encode(texts), model.encode(texts))
    assert load_wordpiece(tmp_path).encode_batch(texts) == rows
    assert not (tmp_path / "modules.json").exists()  # which would have it opened as a plain mean elsewhere
    with pytest.raises(InputError, match="mean or log-mean in an encoder of 0 layers, not 'cls'"):
        replace(config, pooling="cls")
    with pytest.raises(InputError, match="mean or cls or max in an encoder of 1 layers, not 'log-mean'"):
        replace(config, n_layer=1)


def test_the_contrastive_loss_is_that_of_the_formula(tokenizer: WordPiece) -> None:
    model = SentenceEncoder(SentenceEncoderConfig(50, n_embd=8, temperature=0.5))
    batch = {"query": torch.tensor([[5, 6], [7, 0]]), "document": torch.tensor([[9, 8, 7], [6, 5, 0]])}
    q, d = model(batch["query"]), model(batch["document"])
    scores = q @ d.T / 0.5
    expected = -(scores.log_softmax(1).diagonal().sum() + scores.log_softmax(0).diagonal().sum()) / 2
    torch.testing.assert_close(model.loss(batch).total, expected)


BAD: list[dict[str, Any]] = [
    {"n_layer": 0},
    {"n_head": 5},
    {"dropout": 1.0},
    {"pad": 60},
    {"vocab_size": 0},
]


@pytest.mark.parametrize("fields", BAD)
def test_senseless_shapes(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        BERTConfig(**{"vocab_size": 60, "n_embd": 16, "n_head": 2} | fields)


def test_bad_folders(tmp_path: Path, tokenizer: WordPiece) -> None:
    model = BERT(TINY)
    with pytest.raises(InputError, match="exceed the context of 16"):
        model(torch.ones(1, 17, dtype=torch.long))
    with pytest.raises(InputError, match="at least 2 classes"):
        BERTClassifier(TINY, ["one"])
    with pytest.raises(InputError, match="no tokenizer"):
        SentenceEncoder(SentenceEncoderConfig(50, n_embd=8)).encode(["x"])
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for field, value in (
        ("position_embedding_type", "relative_key"),
        ("hidden_act", "silu"),
        ("hidden_size", 20),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | {field: value}))
        with pytest.raises(InputError, match=r"hidden|position"):
            BERT.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="names no classes"):
        BERTClassifier.from_pretrained(tmp_path)
    (tmp_path / "modules.json").write_text('[{"type": "x.Transformer", "path": ""}, {"type": "x.Dense"}]')
    with pytest.raises(InputError, match="Dense"):
        SentenceEncoder.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="damaged"):
        read_encoder(tmp_path)


def test_bad_tokenizers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no text"):
        WordPiece.train([], 100)
    with pytest.raises(InputError, match="too small"):
        WordPiece.train(TEXTS, 5)
    with pytest.raises(InputError, match="holds no WordPiece"):
        WordPiece.load(tmp_path)
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match=r"no \[PAD\]"):
        WordPiece.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "BPE"}}')
    with pytest.raises(InputError, match="expected WordPiece"):
        WordPiece.load(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"\xff")
    with pytest.raises(InputError, match="damaged"):
        WordPiece.load(tmp_path)
