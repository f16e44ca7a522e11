"""The bench of the pictures' lineage: a small one, resumed; the whole one, slowly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bottega.cli import run
from bottega.recipes import lineage_digits

MINUTES = ["--minutes", "0.02"]


def bench(out: Path, *more: str) -> list[str]:
    return ["lineage", "digits", "--data", "embedded", "--out", str(out), *more]


def test_what_is_done_is_kept_and_measured_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lineage_digits, "NAMES", {"mixture": "mixture", "gan": "GAN"})
    monkeypatch.setattr(lineage_digits, "JUDGE_STEPS", 10)
    out = tmp_path / "bench"
    assert run(bench(out, *MINUTES)) == 0
    table = capsys.readouterr().out
    rows = json.loads((out / "results.json").read_text())["models"]
    assert list(rows) == ["real", "mixture", "gan"]
    assert rows["mixture"]["kind"] == "exact, grey values" and "nats" not in rows["gan"]
    assert rows["mixture"]["fid"] < rows["gan"]["fid"]
    assert [line.split("|")[3].strip() for line in table.splitlines() if line.startswith("| GAN")] == ["none"]
    assert (out / "lineage.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "lineage.md").read_text().strip() in table
    written = (out / "mixture" / "model.safetensors").stat().st_mtime_ns
    (out / "gan" / "result.json").unlink()
    assert run(bench(out, *MINUTES, "--json")) == 0
    again = json.loads(capsys.readouterr().out)["models"]
    assert (out / "mixture" / "model.safetensors").stat().st_mtime_ns == written
    assert again["gan"]["fid"] == pytest.approx(rows["gan"]["fid"])  # the run was finished, so it is the same
    assert run(bench(out, "--minutes", "3")) == 2
    assert "was begun with minutes 0.02" in capsys.readouterr().err


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(bench(tmp_path / "a", "--minutes", "0")) == 2
    assert "--minutes must be above 0, not 0.0" in capsys.readouterr().err
    assert run(["lineage", "digits", "--data", "nowhere", "--out", str(tmp_path / "b")]) == 2
    assert "nowhere: no such file or folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_whole_bench_on_the_embedded_digits(tmp_path: Path) -> None:
    out = tmp_path / "bench"
    assert run(bench(out, "--minutes", "0.1")) == 0
    rows = json.loads((out / "results.json").read_text())["models"]
    assert list(rows) == ["real", *lineage_digits.NAMES]
    kinds = {name: row.get("kind", "none").split(",")[0] for name, row in rows.items()}
    assert kinds["mixture"] == "exact" and kinds["vae"] == "importance" and kinds["dcgan"] == "none"
    assert all(row["seconds"] > 0 for name, row in rows.items() if name != "real")
