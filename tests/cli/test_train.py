"""`bottega train` from prepared data to a run, in a process of its own."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from bottega.cli import run
from bottega.data.documents import Document
from bottega.data.shards import prepare
from bottega.text.tokenizer import Tokenizer

SENTENCES = ("The master grinds the colours.", "Zoan paints a hand.", "Caterina carves the frame at dawn.")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    texts = [" ".join(SENTENCES[(i + j) % 3] for j in range(20)) for i in range(60)]
    tokenizer = Tokenizer.train(texts, 300)
    for part, chosen in (("train", texts[:50]), ("heldout", texts[50:])):
        documents = [Document(text, f"{part}-{i}") for i, text in enumerate(chosen)]
        prepare(documents, tokenizer, folder / part)
    return folder


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    shape = (
        "--n-layer",
        "1",
        "--n-embd",
        "32",
        "--context-length",
        "32",
        "--n-head",
        "2",
        "--head-dim",
        "16",
    )
    sizes = ("--n-kv-head", "1", "--n-inner", "48", "--batch-size", "4", "--precision", "fp32")
    return ["train", "modern-1m", "--data", str(data), "--out", str(out), *shape, *sizes, *more]


def test_a_preset_is_trained_and_opens_again(data: Path, tmp_path: Path, capsys) -> None:
    assert run(arguments(data, tmp_path / "run", "--steps", "30")) == 0
    told = capsys.readouterr().out
    assert "step-30: 30 steps, 3,840 tokens, held-out loss" in told
    from bottega.models.load import load, load_tokenizer

    model = load(tmp_path / "run")
    assert model.config.n_layer == 1
    assert model.config.vocab_size == load_tokenizer(tmp_path / "run").vocab_size
    curves = [json.loads(line) for line in (tmp_path / "run/curves.jsonl").read_text().splitlines()]
    held_out = [line["values"]["bits_per_byte"] for line in curves if line["event"] == "validation"]
    assert held_out[0] > 1.3 * held_out[-1]
    assert any(line["event"] == "sample" for line in curves)
    assert run(arguments(data, tmp_path / "run", "--steps", "30")) == 0
    assert "is finished: 30 steps" in capsys.readouterr().out


def test_other_data_or_another_shape_is_refused(data: Path, tmp_path: Path, capsys) -> None:
    assert run(arguments(data, tmp_path / "run", "--steps", "2")) == 0
    assert run(arguments(data, tmp_path / "run", "--steps", "2", "--n-inner", "64")) == 2
    assert "n_inner: 48, now 64" in capsys.readouterr().err
    assert run(arguments(data, tmp_path / "run", "--steps", "3")) == 2
    assert "steps: 2, now 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "name a preset first"),
        (["gpt9"], "there is no preset 'gpt9'"),
        (["modern-1m", "--data", "x", "--out", "y"], "exactly one of steps, tokens and minutes"),
        (["modern-1m", "--data", "x", "--out", "y", "--steps", "1"], "x: no such file, folder or data set"),
        (["modern-1m", "--data", "x=0.5", "y=0.5", "--out", "z", "--steps", "1"], "x is no folder that"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_2(
    argv: list[str], message: str, capsys, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", *argv]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["lda", "bert-classifier", "dbn-classifier", "transformer-tiny"])
def test_the_help_of_a_preset_has_its_own_example(name: str, capsys) -> None:
    with pytest.raises(SystemExit):
        run(["train", name, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert told.startswith(f"usage: bottega train {name} ") and f"--out runs/{name}" in told
    assert ("--data multi30k" in told) == (name == "transformer-tiny")
    assert ("--model runs/bert-tiny" in told) == (name == "bert-classifier")
    assert ("--model runs/dbn" in told) == (name == "dbn-classifier")


def test_list_shows_every_preset(capsys) -> None:
    from bottega.recipes.presets import PRESETS

    assert run(["train", "--list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [words[0] for words in lines if words[0] in PRESETS] == list(PRESETS)
    assert next(words for words in lines if words[0] == "gpt2-1.5b")[1] == "1,557,611,200"
    assert run(["train", "--list", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == list(PRESETS)
    minutes = {row["name"]: row["minutes"] for row in rows}
    assert minutes["lda"] == PRESETS["lda"].minutes and minutes["modern-1m"] is None
    assert minutes["bert-tiny"] == 4.0  # its budget
    assert all(row["about"] and row["data"] and row["family"] for row in rows)


def test_help_has_an_example(capsys) -> None:
    with pytest.raises(SystemExit) as left:
        run(["train", "modern-1m", "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    for piece in ("Example: bottega train", "--minutes", "--n-layer", "--weight-decay"):
        assert piece in text
    assert "--vocab-size" not in text  # it is the data's


@pytest.mark.parametrize(
    ("preset", "said"),
    [
        ("lstm", "it is resumed where it exists"),
        ("modern-1m", "it is resumed where it exists"),
        ("bert-classifier", "it is resumed where it exists"),
        ("lda", "the same command starts again"),
        ("word2vec", "the same command starts again"),
        ("naive-bayes", "the same command starts again"),
    ],
)
def test_help_says_which_resume(preset: str, said: str, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        run(["train", preset, "--help"])
    assert said in " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_documents_are_prepared_in_the_run(data: Path, tmp_path: Path, capsys) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=5)) for _ in range(2000)]
    for i in range(200):
        (texts / f"{i}.txt").write_text(" ".join(chance.choices(words, k=60)), "utf-8")
    assert run(arguments(texts, tmp_path / "run", "--steps", "3")) == 0
    told = capsys.readouterr().out
    assert "to train on and held out" in told and "bits per byte" in told
    assert (tmp_path / "run/data/heldout/meta.json").is_file()
    assert run(arguments(texts, tmp_path / "run", "--steps", "3")) == 0
    assert "is finished: 3 steps" in capsys.readouterr().out
    assert run(arguments(tmp_path, tmp_path / "run", "--steps", "3")) == 2
    assert "was begun with" in capsys.readouterr().err
    mixed = arguments(data, tmp_path / "other", "--steps", "3")
    mixed[mixed.index(str(data)) : mixed.index(str(data)) + 1] = [f"{data}=0.5", f"{texts}=0.5"]
    assert run(mixed) == 2
    assert f"{texts} is no folder that `bottega data prepare` wrote" in capsys.readouterr().err
    assert run(arguments(data / "train", tmp_path / "other", "--steps", "3")) == 2
    assert "is a part of a prepared folder" in capsys.readouterr().err


def test_interrupted_it_exits_130_and_goes_on(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from bottega.cli import main; main()"]
    command += arguments(data, tmp_path / "run", "--steps", "100000", "--save-every", "5")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run/latest").exists():
        assert process.poll() is None, process.stderr
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("bottega train: stopped after step") and err.count("\n") == 1
    assert "the same command goes on from there" in err


@pytest.fixture(scope="module")
def other(data: Path, tmp_path_factory) -> Path:
    """A second corpus, made with the first one's tokenizer."""
    folder, tokenizer = tmp_path_factory.mktemp("other"), Tokenizer.load(data / "train" / "tokenizer")
    for part in ("train", "heldout"):
        prepare(
            [Document(f"{SENTENCES[1]} " * 30, f"{part}-{i}") for i in range(5)], tokenizer, folder / part
        )
    return folder


def test_a_mixture_says_how_often_each_source_was_seen(
    data: Path, other: Path, tmp_path: Path, capsys
) -> None:
    words = arguments(data, tmp_path / "run", "--steps", "30")
    at = words.index(str(data))
    words[at : at + 1] = [f"{data}=0.75", f"{other}=0.25"]
    assert run(words) == 0
    told = " ".join(capsys.readouterr().out.split())
    seen = {path: float(told.split(f"{path} ")[1].split()[0].rstrip(",")) for path in (data, other)}
    assert seen[other] > seen[data] > 0  # a quarter of the rows, but of a corpus a tenth as large


@pytest.mark.parametrize("wrong", ["{0} {1}", "{0}=0.5 {1}=much", "{0}=0.5 {0}=0.5", "{0}=0 {1}=0"])
def test_a_mixture_needs_sound_weights(data: Path, other: Path, tmp_path: Path, wrong: str, capsys) -> None:
    words = arguments(data, tmp_path / "run", "--steps", "3")
    at = words.index(str(data))
    words[at : at + 1] = wrong.format(data, other).split()
    assert run(words) == 2
    assert capsys.readouterr().err.count("\n") == 1
