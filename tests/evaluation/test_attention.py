"""The attention of real models on real texts, and the page that the command writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from bottega.cli import run
from bottega.data.pairs import SPECIAL_TOKENS
from bottega.errors import InputError
from bottega.evaluation.attention import read_attention, token_texts
from bottega.models.bert import BERT, BERTConfig
from bottega.models.gpt import GPT, GPTConfig
from bottega.models.transformer import Transformer, TransformerConfig
from bottega.text.tokenizer import Tokenizer
from bottega.text.wordpiece import WordPiece

TEXT = ["The master drew the hand of the angel.", "Café, naïve: 你好 🎨"]


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, tokenizer = tmp_path_factory.mktemp("gpt"), Tokenizer.train(TEXT * 20, 300)
    GPT(GPTConfig(tokenizer.vocab_size, 64, n_layer=2, n_head=3, n_embd=12)).save_pretrained(folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, tokenizer = tmp_path_factory.mktemp("bert"), WordPiece.train(TEXT * 20, 120)
    shape = BERTConfig(tokenizer.vocab_size, context_length=64, n_layer=2, n_head=3, n_embd=12, n_inner=24)
    BERT(shape).save_pretrained(folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translator")
    tokenizer = Tokenizer.train(TEXT * 20, 300, special_tokens=SPECIAL_TOKENS)
    special = tokenizer.special_tokens
    names = {"pad": special["<pad>"], "bos": special["<bos>"], "eos": special["<eos>"]}
    sizes = {"n_encoder_layer": 1, "n_decoder_layer": 2, "n_head": 3, "n_embd": 12, "n_inner": 24}
    shape = TransformerConfig(vocab_size=300, context_length=64, **sizes, **names)
    Transformer(shape).save_pretrained(folder)
    tokenizer.save(folder)
    return folder


def test_a_gpt_looks_back_only_from_end_of_text_on(gpt: Path) -> None:
    seen = read_attention(gpt, TEXT[0])
    assert "".join(seen.source) == "<|endoftext|>" + TEXT[0]
    n = len(seen.source)
    assert seen.maps["self"].shape == (2, 3, n, n)
    assert torch.equal(seen.maps["self"], seen.maps["self"].tril())
    assert torch.allclose(seen.maps["self"].sum(-1), torch.ones(2, 3, n))
    with pytest.raises(InputError, match="a GPT reads one text"):
        read_attention(gpt, TEXT[0], "Der Meister")


def test_bert_looks_both_ways_over_one_text_or_two(bert: Path) -> None:
    one, two = read_attention(bert, "the hand"), read_attention(bert, "the hand", "the angel")
    assert one.source[0] == "[CLS]" and one.source[-1] == "[SEP]"
    assert two.source.count("[SEP]") == 2 and two.source[: len(one.source)] == one.source
    n = len(two.source)
    assert two.maps["self"].shape == (2, 3, n, n)
    assert (two.maps["self"] > 0).all()


def test_a_translator_has_three_kinds_over_two_sides(translator: Path) -> None:
    seen = read_attention(translator, "The hand.", "The angel of the master.")
    s, t = len(seen.source), len(seen.target)
    assert seen.source[-1] == "<eos>" and "".join(seen.target) == "<bos>The angel of the master."
    shapes = {name: tuple(weights.shape) for name, weights in seen.maps.items()}
    assert shapes == {"encoder": (1, 3, s, s), "decoder": (2, 3, t, t), "cross": (2, 3, t, s)}
    assert read_attention(translator, "The hand.").target[0] == "<bos>"  # its own translation


def test_parts_of_characters_are_shown_as_bytes(gpt: Path) -> None:
    tokenizer = Tokenizer.load(gpt)
    assert token_texts(tokenizer, tokenizer.encode_bytes(b"\xe4")) == ["0xe4"]


def test_the_command_writes_the_page(gpt: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "page.html"
    assert run(["show", "attention", str(gpt), TEXT[0], "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    found = re.search(r'id="data">(.*?)</script>', out.read_text(encoding="utf-8"), re.S)
    assert found is not None
    assert "".join(json.loads(found[1])["tokens"]["source"]) == "<|endoftext|>" + TEXT[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [(" ", "the text is empty"), ("master " * 100, "exceed the context of 64"), ("a " * 9000, "no browser")],
)
def test_what_cannot_be_shown_is_refused(gpt: Path, tmp_path: Path, text: str, reason: str, capsys) -> None:
    assert run(["show", "attention", str(gpt), text, "--out", str(tmp_path / "page.html")]) == 2
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
