"""`bottega data` as a user runs it: what it prints, what it leaves on disk, how it fails."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from bottega.cli import run
from bottega.data.shards import TokenShards
from bottega.text.tokenizer import Tokenizer

WORDS = [
    *("the", "master", "paints", "a", "door", "and", "his", "pupil", "mixes", "blue"),
    *("while", "rain", "falls", "on", "seven", "grey", "roofs", "of", "Florence"),
]


@pytest.fixture
def books(tmp_path: Path) -> Path:
    draw = random.Random(3)
    folder = tmp_path / "books"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02}.txt").write_text(" ".join(draw.choice(WORDS) for _ in range(300)))
    return folder


@pytest.fixture
def tokenizer(tmp_path: Path, books: Path) -> Path:
    folder = tmp_path / "tokenizer"
    texts = [path.read_text() for path in sorted(books.iterdir())]
    Tokenizer.train(texts, 300).save(folder)
    return folder


def failure(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a command that must fail as wrong input; return its one line."""
    assert run(["data", *argv]) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("bottega data: "), captured.err
    return lines[0]


def test_prepare_makes_both_parts_and_goes_on_at_no_cost(
    tmp_path: Path, books: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (books / "cover.png").write_bytes(bytes(30))
    out = tmp_path / "out"
    argv = [
        "data",
        "prepare",
        str(books),
        "--tokenizer",
        str(tokenizer),
        "--out",
        str(out),
        "--held-out",
        "0.1",
    ]
    assert run([*argv, "--json"]) == 0
    captured = capsys.readouterr()
    assert "skipped 1 of its files" in captured.err
    result = json.loads(captured.out)
    train, held = TokenShards.open(out / "train"), TokenShards.open(out / "heldout")
    assert train.n_documents + held.n_documents == 60 and 1 <= held.n_documents <= 20
    assert result["train"] == {
        "documents": train.n_documents,
        "tokens": train.n_tokens,
        "bytes": train.n_bytes,
    }
    texts = {path.read_text() for path in books.glob("*.txt")}
    encoder = Tokenizer.load(tokenizer)
    decoded = [encoder.decode(part.document(i)) for part in (train, held) for i in range(part.n_documents)]
    assert len(decoded) == 60 and set(decoded) == texts
    before = {path: path.read_bytes() for path in out.rglob("*.bin")}
    assert run(argv) == 0
    assert {path: path.read_bytes() for path in out.rglob("*.bin")} == before
    assert "tokens" in capsys.readouterr().out


def test_prepare_with_nothing_held_out(tmp_path: Path, books: Path, tokenizer: Path) -> None:
    out = tmp_path / "out"
    argv = ["prepare", str(books), "--tokenizer", str(tokenizer), "--out", str(out), "--held-out", "0"]
    assert run(["data", *argv]) == 0
    assert TokenShards.open(out / "train").n_documents == 60
    assert not (out / "heldout").exists()


def test_prepare_refuses_bad_sources_and_leaves_nothing(
    tmp_path: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (tmp_path / "empty.txt").touch()
    (tmp_path / "binary.txt").write_bytes(bytes(100))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.bin").write_bytes(bytes(100))
    (tmp_path / "short.txt").write_text("A line.")
    for name, expected in {
        "empty.txt": "empty; expected text",
        "binary.txt": "a binary file",
        "latin.txt": "byte 0xe9 at offset 3 is not UTF-8",
        "short.txt": "corpus too small to hold anything out",
        "absent.txt": "no such file, folder or data set",
    }.items():
        argv = ["prepare", str(tmp_path / name), "--tokenizer", str(tokenizer), "--out", str(out)]
        assert expected in failure(capsys, *argv)
        assert not out.exists()
    argv = ["prepare", str(tmp_path / "folder"), "--tokenizer", str(tokenizer), "--out", str(out)]
    assert run(["data", *argv]) == 2
    assert "holds no text" in capsys.readouterr().err
    assert not out.exists()


def test_prepare_without_a_source(
    tmp_path: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = failure(capsys, "prepare", "--tokenizer", str(tokenizer), "--out", str(tmp_path / "out"))
    assert "no source given" in line


def test_list_tells_what_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BOTTEGA_DATA", str(tmp_path))
    assert run(["data", "list"]) == 0
    table = capsys.readouterr().out
    assert "gutenberg" in table and "by hand" in table and "to download" in table and str(tmp_path) in table
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "shakespeare.txt").write_bytes(bytes(1_115_394))
    assert run(["data", "list", "--json"]) == 0
    rows = {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows["shakespeare"]["here"] and not rows["gutenberg"]["here"]
    assert rows["shakespeare"]["bytes"] == 1_115_394 and rows["shakespeare"]["licence"] == "public domain"


def test_get_without_an_address_says_which_file_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BOTTEGA_DATA", str(tmp_path))
    line = failure(capsys, "get", "gutenberg")
    assert str(tmp_path / "text" / "gutenberg.jsonl.xz") in line
    assert "it has boolq" in failure(capsys, "get", "nothing-of-the-kind")


def test_get_of_what_is_here_prints_its_files(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BOTTEGA_DATA", str(shared_data))
    assert run(["data", "get", "shakespeare"]) == 0
    assert capsys.readouterr().out.strip() == str(shared_data / "text" / "shakespeare.txt")


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--help"], ["list", "--help"], ["get", "--help"], ["prepare", "--help"]):
        with pytest.raises(SystemExit) as caught:
            run(["data", *argv])
        assert caught.value.code == 0
        assert "Example: bottega data" in capsys.readouterr().out
