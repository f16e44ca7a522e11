from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from bottega.cli import run
from bottega.models.gpt import GPT, GPTConfig
from bottega.models.load import load

REVIEWS = [
    ("a warm and lovely film", "good"),
    ("lovely songs, warm hearts", "good"),
    ("dull and lifeless", "bad"),
    ("a lifeless, noisy bore", "bad"),
] * 25


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    file = tmp_path / "reviews.tsv"
    file.write_text("".join(f"{text} {i}\t{label}\n" for i, (text, label) in enumerate(REVIEWS)))
    return file


@pytest.fixture(params=["naive-bayes", "logistic-regression"])
def model(request: pytest.FixtureRequest, reviews: Path, tmp_path: Path) -> Path:
    out = tmp_path / "model"
    assert run(["train", request.param, "--data", str(reviews), "--out", str(out)]) == 0
    return out


def test_train_classify_and_measure(model: Path, reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = json.loads((model / "config.json").read_text())["model_type"].removeprefix("bottega-")
    assert run(["train", preset, "--data", str(reviews), "--out", str(model)]) == 0
    assert "held-out texts 100.0% right" in capsys.readouterr().out
    assert run(["classify", str(model), "a lovely film", "noisy"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("good 0.") and first.endswith("| a lovely film")
    assert second.startswith("bad 0.")
    assert run(["classify", str(model), "a lovely film", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["label"] == "good" and found["text"] == "a lovely film"
    row = load(model).predict_proba(["a lovely film"])[0].tolist()
    assert found["probabilities"] == dict(sorted(zip(load(model).classes, row, strict=True), reverse=True))
    assert run(["eval", str(model), "--labelled", str(reviews), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "model": str(model),
        "accuracy": 1.0,
        "correct": 100,
        "count": 100,
        "commonest_label": 0.5,
    }


def test_a_file_has_a_text_a_line(model: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    (tmp_path / "new.txt").write_bytes(b"lovely\r\n\n  \nlifeless\n")
    capsys.readouterr()
    assert run(["classify", str(model), "--file", str(tmp_path / "new.txt"), "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["text"], one["label"]) for one in found] == [("lovely", "good"), ("lifeless", "bad")]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"dull\n")))
    assert run(["classify", str(model), "--file", "-"]) == 0
    assert capsys.readouterr().out.startswith("bad ")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "give texts, or --file"),
        (["x", "--file", "new.txt"], "one of the two"),
        (["--file", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--file", "{}/bytes"], "byte 0xff at offset 2 is not UTF-8"),
        (["--file", "{}/blank"], "holds no text"),
        (["f\udcffne"], "the text is not UTF-8 at byte 1"),
    ],
)
def test_bad_input_is_one_line(model: Path, tmp_path: Path, more: list[str], says: str, capsys) -> None:
    (tmp_path / "bytes").write_bytes(b"a \xff")
    (tmp_path / "blank").write_bytes(b"\n \n")
    capsys.readouterr()
    assert run(["classify", str(model), *(one.format(tmp_path) for one in more)]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_a_model_that_gives_no_labels_is_refused(tmp_path: Path, reviews: Path, capsys) -> None:
    GPT(GPTConfig(16, 8, 1, 2, 16)).save_pretrained(tmp_path / "gpt")
    assert run(["classify", str(tmp_path / "gpt"), "x"]) == 2
    assert run(["eval", str(tmp_path / "gpt"), "--labelled", str(reviews)]) == 2
    assert capsys.readouterr().err.count("a GPT gives no labels; train a classifier\n") == 2


def test_labels_that_the_model_does_not_know_are_named(model: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "other.tsv").write_text("a text\tNUM\n")
    assert run(["eval", str(model), "--labelled", str(tmp_path / "other.tsv")]) == 2
    assert "the labels are 'NUM', but the model knows 'bad', 'good'" in capsys.readouterr().err
    assert run(["eval", str(model), "--labelled", "embedded", "--fim"]) == 2
    assert "--fim goes with --data" in capsys.readouterr().err


def test_one_class_only_is_named_with_its_file(tmp_path: Path, capsys) -> None:
    file = tmp_path / "one.tsv"
    file.write_text("".join(f"text {i}\tgood\n" for i in range(30)))
    assert run(["train", "naive-bayes", "--data", str(file), "--out", str(tmp_path / "model")]) == 2
    error = capsys.readouterr().err
    assert str(file) in error and "labelled 'good'" in error and not (tmp_path / "model").exists()


def test_the_growing_bench_prints_its_numbers_for_programs(
    reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["lineage", "sentiment", "--data", str(reviews), "--draws", "1", "--out", str(tmp_path / "bench")]
    assert run([*asked, "--json"]) == 0
    curves = json.loads(capsys.readouterr().out)["curves"][str(reviews)]
    assert curves["naive Bayes"]["80"] and curves["logistic regression, TF-IDF"]


def test_what_only_a_network_s_run_has_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["average", str(model), "--out", str(tmp_path / "mean")]) == 2
    assert "holds no checkpoints; give the run of a network" in capsys.readouterr().err
    assert run(["show", "curves", str(model), "--out", str(tmp_path / "curves.png")]) == 2
    assert "has no curves.jsonl; give the run of a network" in capsys.readouterr().err
