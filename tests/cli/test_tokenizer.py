"""`bottega tokenizer` as typed: results, exit codes, one line for each mistake, nothing half-written."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from bottega.cli import run

TEXT = "the smith mends the kettle and the smith's boy mends the bellows; naïve 🔨\n" * 40


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def trained(source, tmp_path, capsys):
    assert run(["tokenizer", "train", str(source), "--vocab-size", "300", "--out", str(tmp_path / "t")]) == 0
    capsys.readouterr()
    return str(tmp_path / "t")


def typed(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_train_reports_and_writes(source, tmp_path, capsys):
    out = tmp_path / "deep" / "folder"
    command = ["tokenizer", "train", str(source), str(source), "--vocab-size", "300", "--out", str(out)]
    assert run([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["vocab_size"] == 300
    assert sorted(path.name for path in out.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    assert run(["tokenizer", "encode", str(out), TEXT, "--json"]) == 0
    ids = json.loads(capsys.readouterr().out)["ids"]
    assert said["bytes_per_token"] == pytest.approx(len(TEXT.encode()) / len(ids))


def test_encode_and_decode(trained, capsys, monkeypatch):
    assert run(["tokenizer", "encode", trained, "the naïve 🔨<|endoftext|>"]) == 0
    ids = capsys.readouterr().out.split()
    assert run(["tokenizer", "decode", trained, *ids]) == 0
    assert capsys.readouterr().out == "the naïve 🔨<|endoftext|>\n"
    typed(monkeypatch, " ".join(ids).encode())
    assert run(["tokenizer", "decode", trained, "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"text": "the naïve 🔨<|endoftext|>"}
    typed(monkeypatch, "the naïve 🔨<|endoftext|>".encode())
    assert run(["tokenizer", "encode", trained, "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ids"] == [int(id) for id in ids]


def test_special_tokens_only_when_asked(trained, capsys):
    assert run(["tokenizer", "encode", trained, "<|endoftext|>", "--encode-special-tokens"]) == 0
    assert capsys.readouterr().out == "294\n"
    assert run(["tokenizer", "encode", trained, "<|endoftext|>"]) == 0
    assert "294" not in capsys.readouterr().out.split()


def test_a_run_is_read_through_its_latest_checkpoint(trained, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "latest").symlink_to(trained)
    assert run(["tokenizer", "encode", str(tmp_path / "run"), "the"]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["train", "SOURCE", "--vocab-size", "100", "--out", "NEW"], 2, "262"),
        (["train", "SOURCE", "--vocab-size", "9999", "--out", "NEW"], 2, "ask for at most"),
        (["train", "SOURCE.missing", "--vocab-size", "300", "--out", "NEW"], 2, "SOURCE.missing"),
        (["train", "--vocab-size", "300", "--out", "NEW"], 2, "no source"),
        (["train", "EMPTY", "--vocab-size", "300", "--out", "NEW"], 2, "EMPTY"),
        (["train", "BINARY", "--vocab-size", "300", "--out", "NEW"], 2, "BINARY"),
        (["train", "SOURCE", "--vocab-size", "300", "--out", "FULL"], 2, "is there already"),
        (["train", "SOURCE", "--vocab-size", "300", "--out", "SOURCE/below"], 1, "cannot write"),
        (["encode", "NEW", "text"], 2, "no such file"),
        (["encode", "FULL", "text"], 2, "holds no tokenizer"),
        (["decode", "TRAINED", "300"], 2, "no token has the id 300"),
        (["decode", "TRAINED", "1", "two"], 2, "'two'"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    trained, source, tmp_path, capsys, monkeypatch, arguments, code, says
):
    (tmp_path / "EMPTY").write_text("")
    (tmp_path / "BINARY").write_bytes(b"\x7fELF\x00\x00" * 100)
    (tmp_path / "FULL").mkdir()
    (tmp_path / "FULL" / "letter.txt").write_text("hello")
    source.rename(tmp_path / "SOURCE")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert run(["tokenizer", *(a.replace("TRAINED", trained) for a in arguments)]) == code
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("bottega tokenizer: ") and said.err.count("\n") == 1
    assert says in said.err
    assert sorted(tmp_path.rglob("*")) == before


def test_undecodable_standard_input_is_refused(trained, capsys, monkeypatch):
    typed(monkeypatch, b"abc\xff")
    assert run(["tokenizer", "encode", trained, "-"]) == 2
    assert "byte 3 is no UTF-8" in capsys.readouterr().err


def test_undecodable_arguments_become_replacement_characters(trained):
    code = "import sys; from bottega.cli import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "tokenizer", "encode", trained, b"a\xffb", "--json"]
    out = subprocess.run(
        command, capture_output=True, check=True, env=os.environ | {"PYTHONUTF8": "1"}
    ).stdout
    assert json.loads(out)["tokens"][0] == "a"
