"""`bottega train word2vec` and `hmm`, and what asks and draws their models, as a user runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from bottega.cli import run
from bottega.errors import Stopped
from bottega.models.word2vec import Word2Vec
from bottega.recipes import hmm, words

RNG = np.random.default_rng(0)
TOPICS = (["apple", "pear", "plum", "fig"], ["oak", "elm", "ash", "fir"], ["lute", "harp", "drum", "fife"])
LINES = [" ".join(RNG.choice(TOPICS[RNG.integers(3)], 8)) for _ in range(400)]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "lines.txt"
    path.write_text("\n".join(LINES))
    return path


@pytest.fixture(scope="module")
def model(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "words"
    options = ["--epochs", "10", "--rate", "0.05", "--subsample", "0", "--width", "16"]
    assert run(["train", "word2vec", "--data", str(text), "--out", str(out), *options]) == 0
    return out


@pytest.fixture(scope="module")
def letters(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "letters"
    options = ["--iterations", "20", "--starts", "2"]
    assert run(["train", "hmm-letters", "--data", str(text), "--out", str(out), *options]) == 0
    return out


def test_nearest_words(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["words", "near", str(model), "lute", "-n", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["words"]
    assert {one["word"] for one in found} == {"harp", "drum", "fife"}
    assert run(["words", "near", str(model), "lute", "-n", "1"]) == 0
    assert capsys.readouterr().out.split()[1] == found[0]["word"]


def test_analogies_similarities_and_export(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = Word2Vec.from_pretrained(model)
    assert run(["words", "similarity", str(model), "oak", "elm"]) == 0
    assert float(capsys.readouterr().out) == pytest.approx(loaded.similarity("oak", "elm"), abs=1e-4)
    assert run(["words", "analogy", str(model), "oak", "elm", "lute", "-n", "2", "--json"]) == 0
    found = [one["word"] for one in json.loads(capsys.readouterr().out)["words"]]
    assert found == [word for word, _ in loaded.analogy("oak", "elm", "lute", 2)]
    assert run(["words", "export", str(model), "--out", str(tmp_path / "v.txt")]) == 0
    lines = (tmp_path / "v.txt").read_text().splitlines()
    assert lines[0] == "12 16" and len(lines) == 13 and lines[1].split()[0] == loaded.words[0]
    assert run(["words", "test", str(model), "--json"]) == 0  # none of its words is asked for
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["asked"] == {}


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_map(model: Path, tmp_path: Path, method: str) -> None:
    chosen = ["--words", "oak, elm,ash,lute,harp,drum", "--method", method]
    assert run(["show", "words", str(model), "--out", str(tmp_path / "map.svg"), *chosen]) == 0
    assert "</svg>" in (tmp_path / "map.svg").read_text()
    assert run(["show", "words", str(model), "--out", str(tmp_path / "all.png")]) == 0
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_wrong_is_said(
    model: Path, letters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*argv: str) -> str:
        assert run([str(one) for one in argv]) == 2
        return capsys.readouterr().err

    assert "did you mean lute" in said("words", "near", str(model), "flute")
    assert "at least one word" in said("words", "near", str(model), "lute", "-n", "0")
    assert "holds a HMM" in said("words", "near", str(letters), "lute")
    assert "holds a Word2Vec" in said("show", "states", str(model), "--out", str(tmp_path / "s.png"))
    assert "three words" in said(
        "show", "words", str(model), "--words", "oak,elm", "--out", str(tmp_path / "m.png")
    )
    for preset, other in (("word2vec", letters), ("hmm-letters", model)):
        file = str(other / "config.json")
        assert "holds another kind of model" in said("train", preset, "--data", file, "--out", str(other))
    assert "name a .png" in said("show", "words", str(model), "--out", str(tmp_path / "map.doc"))


@pytest.mark.parametrize("preset", ["word2vec", "word2vec-cbow", "hmm", "hmm-letters", "hmm-gaussian"])
def test_text_that_teaches_nothing(preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, binary = tmp_path / "empty.txt", tmp_path / "binary.txt"
    empty.write_text("")
    binary.write_bytes(b"words and words " * 10 + b"\xff\xfe\xfa")
    for path, reason in ((empty, "expected text"), (binary, "UTF-8"), (tmp_path / "none", "no such file")):
        assert run(["train", preset, "--data", str(path), "--out", str(tmp_path / "run")]) == 2
        assert reason in capsys.readouterr().err


def test_one_word_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "one.txt"
    path.write_text("echo " * 50)
    assert run(["train", "word2vec", "--data", str(path), "--out", str(tmp_path / "run")]) == 2
    assert "1 of 1 words occur at least 5 times" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("family", [words, hmm])
def test_ctrl_c_keeps_what_was_learnt(family, text: Path, tmp_path: Path, monkeypatch) -> None:
    from bottega.models.hmm import HMM

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Word2Vec, "learn", interrupted)
    monkeypatch.setattr(HMM, "fit", interrupted)
    preset = family.PRESETS["word2vec" if family is words else "hmm-letters"]
    with pytest.raises(Stopped, match=r"as far as .*; the same command starts again"):
        preset.run(preset.shape, (str(text),), tmp_path / "run", preset.training, None)
    assert (tmp_path / "run" / "config.json").is_file()


def test_a_language_model_of_hidden_states(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "hmm"
    options = ["--iterations", "30", "--n-states", "12"]
    assert run(["train", "hmm", "--data", str(text), "--out", str(out), *options]) == 0
    bits = float(capsys.readouterr().out.split("bits per byte ")[1].split()[0])
    assert bits < 3.2  # the letters alone need 3.9
    assert run(["score", str(out), "apple pear plum fig", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)["bits_per_byte"]
    assert run(["score", str(out), "gif mulp raep elppa", "--json"]) == 0
    assert known < json.loads(capsys.readouterr().out)["bits_per_byte"]


def test_lines_of_two_kinds_cost_less_than_with_one_gaussian(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(40):
        prose = "\n".join("the apprentice ground the colours " * 3 for _ in range(5 + n % 3))
        rules = "\n".join("=" * (9 + k) for k in range(5 + n % 4))
        (tmp_path / f"{n}.txt").write_text(f"{prose}\n{rules}\n{n}\n{prose}\n")
    out = tmp_path / "lines"
    options = ["--data", *map(str, tmp_path.glob("*.txt")), "--out", str(out), "--n-states", "2"]
    assert run(["train", "hmm-gaussian", *options]) == 0
    told = re.search(
        r"2 states; (\S+) nats a line over \d+ held-out lines, one Gaussian (\S+);", capsys.readouterr().out
    )
    assert told and float(told[1]) < float(told[2]) - 1


def test_pictures_of_states(
    letters: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", "states", str(letters), "--out", str(tmp_path / "states.png")]) == 0
    assert "' ' 0." in capsys.readouterr().out
    assert (tmp_path / "states.png").read_bytes().startswith(b"\x89PNG")
    (letters / "symbols.json").write_text('["a"]')
    assert run(["show", "states", str(letters), "--out", str(tmp_path / "states.png")]) == 2
    assert "expected a list of 27 names" in capsys.readouterr().err
    lines = tmp_path / "lines"
    options = ["--iterations", "5", "--n-states", "2"]
    assert run(["train", "hmm-gaussian", "--data", str(text), "--out", str(lines), *options]) == 0
    assert run(["show", "states", str(lines), "--out", str(tmp_path / "lines.png")]) == 0
    assert "log characters" in capsys.readouterr().out
