"""`bottega ngram`, from text to a model, its scores, its samples and its ARPA file, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from bottega.cli import run
from bottega.data.documents import read_documents
from bottega.data.shards import prepare
from bottega.models.ngram import NgramModel
from bottega.text.tokenizer import Tokenizer

CATS, DOGS = "The cat sat on the mat. The dog sat on the log.\n", "A cat is not a dog; a dog is not a cat.\n"
TEXTS = [CATS * 8, DOGS * 8]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two texts, a tokenizer, the texts as shards, and a model of order 3."""
    folder = tmp_path_factory.mktemp("ngram")
    (folder / "text").mkdir()
    for i, text in enumerate(TEXTS):
        (folder / "text" / f"{i}.txt").write_text(text)
    tokenizer = Tokenizer.train(TEXTS, 280)
    tokenizer.save(folder / "tokenizer")
    prepare(read_documents([folder / "text"]), tokenizer, folder / "shards" / "train")
    train = ["ngram", "train", str(folder / "text"), "--tokenizer", str(folder / "tokenizer"), "--order", "3"]
    assert run([*train, "--out", str(folder / "model")]) == 0
    return folder


def test_the_model_is_the_one_of_the_texts_and_shards_give_the_same(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert run(["ngram", "train", str(folder / "shards"), "--order", "3", "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    tokenizer = Tokenizer.load(out)
    model = NgramModel.fit(
        [tokenizer.encode(text) for text in TEXTS], 3, tokenizer.vocab_size, tokenizer.end_of_text
    )
    assert printed["ngrams"] == [len(level.keys) for level in model.levels]
    for path in (out, folder / "model"):
        ids = tokenizer.encode("The cat is not a log.")
        assert NgramModel.from_pretrained(path).log_probs(ids).tolist() == model.log_probs(ids).tolist()


def test_score_of_a_text_and_of_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, tokenizer = NgramModel.from_pretrained(folder / "model"), Tokenizer.load(folder / "model")
    text = "The dog sät."
    assert run(["ngram", "score", str(folder / "model"), text, "--json"]) == 0
    score = model.score(tokenizer.encode(text))
    printed = json.loads(capsys.readouterr().out)
    assert printed["nats"] == pytest.approx(score.total)
    assert printed["tokens"] == score.count
    assert printed["bytes"] == len(text) + 1  # ä is two
    assert printed["bits_per_byte"] == pytest.approx(-score.total / math.log(2) / (len(text) + 1))
    assert run(["ngram", "score", str(folder / "model"), str(folder / "text"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    total = sum(model.score(tokenizer.encode(text)).total for text in TEXTS)
    assert printed["nats"] == pytest.approx(total)
    assert printed["documents"] == 2


def test_samples(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["ngram", "sample", str(folder / "model"), "--prompt", "The cat", "--tokens", "40", "--seed"]
    drawn = []
    for seed in ("1", "1", "2"):
        assert run([*command, seed]) == 0
        drawn.append(capsys.readouterr().out)
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0].startswith("The cat")
    assert "sat on" in drawn[0] + drawn[2] or "is not" in drawn[0] + drawn[2]


def test_arpa_out_and_in(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arpa, back = tmp_path / "model.arpa", tmp_path / "back"
    assert run(["ngram", "arpa", str(folder / "model"), "--out", str(arpa)]) == 0
    assert "\tThe Ġcat Ġ" in arpa.read_text(encoding="utf-8")
    tokenizer = str(folder / "tokenizer")
    assert run(["ngram", "import", str(arpa), "--tokenizer", tokenizer, "--out", str(back)]) == 0
    capsys.readouterr()
    nats = []
    for model in (folder / "model", back):
        assert run(["ngram", "score", str(model), "A dog sat. <s> </s>", "--json"]) == 0
        nats.append(json.loads(capsys.readouterr().out)["nats"])
    assert nats[0] == pytest.approx(nats[1], rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "{}/text", "--out", "{}/new"], "needs a --tokenizer"),
        (["train", "{}/shards", "--tokenizer", "{}/tokenizer", "--out", "{}/new"], "leave --tokenizer out"),
        (["train", "{}/nowhere", "--tokenizer", "{}/tokenizer", "--out", "{}/new"], "no such file"),
        (["train", "{}/shards", "--order", "0", "--out", "{}/new"], "at least 1"),
        (["train", "{}/shards", "--out", "{}/text/0.txt"], "is a file"),
        (["score", "{}/text", "a"], "has no config.json"),
        (["score", "{}/model", ""], "the text is empty"),
        (["sample", "{}/model", "--tokens", "-1"], "expected 0 or more"),
        (["arpa", "{}/model", "--out", "{}/nowhere/a.arpa"], "name another"),
        (
            ["import", "{}/text/0.txt", "--tokenizer", "{}/tokenizer", "--out", "{}/new"],
            "line 8: the file ends",
        ),
    ],
)
def test_wrong_input_is_refused_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(["ngram", *(argument.format(folder) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "new").exists()
