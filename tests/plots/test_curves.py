"""Curves read from a run and drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bottega.cli.show import main
from bottega.errors import InputError
from bottega.plots.curves import read_run, smoothed


def write_run(folder: Path, steps: int = 50) -> Path:
    folder.mkdir()
    with (folder / "curves.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            line = {"event": "step", "step": step, "seconds": step / 2, "loss": 5 / step}
            file.write(json.dumps(line) + "\n")
            if step % 10 == 0:
                values = {"loss": 6 / step, "bits_per_byte": 3 / step}
                line = {
                    "event": "validation",
                    "step": step,
                    "seconds": step / 2,
                    "values": values,
                }
                file.write(json.dumps(line) + "\n")
    return folder


def test_several_runs_in_one_picture(tmp_path: Path, capsys) -> None:
    runs = [write_run(tmp_path / name) for name in ("first", "second")]
    for ending, magic in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        out = tmp_path / f"curves{ending}"
        main(["curves", *map(str, runs), "--out", str(out)])
        assert out.read_bytes().startswith(magic)
        assert len(out.read_bytes()) > 5000
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "curves.png")
    text = (tmp_path / "curves.svg").read_text()
    for words in ("first, training", "second, held out", "bits per byte", "seconds of training"):
        assert f"<!-- {words} -->" in text, words


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 3)
    with (run / "curves.jsonl").open("a") as file:
        file.write('{"event": "step", "step": 4, "sec')
    assert read_run(run)["step"] == {"step": [1, 2, 3], "seconds": [0.5, 1, 1.5], "loss": [5, 2.5, 5 / 3]}


def test_what_is_no_run_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no curves"):
        read_run(tmp_path)
    (tmp_path / "curves.jsonl").write_text("hello\n")
    with pytest.raises(InputError, match="line 1: not a line of curves"):
        read_run(tmp_path)
    (tmp_path / "curves.jsonl").write_text("")
    with pytest.raises(InputError, match="no steps yet"):
        read_run(tmp_path)
    run = write_run(tmp_path / "run")
    with pytest.raises(InputError, match=r"name a .png"):
        main(["curves", str(run), "--out", str(tmp_path / "curves.xyz")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.jsonl", "run"]


def test_smoothing_is_a_trailing_mean() -> None:
    assert smoothed([1, 2, 3, 4], 2) == [1, 1.5, 2.5, 3.5]
