"""What the benches of the lineage share: settings that a folder keeps, one result a model, the table.

A bench is a folder with `lineage.json` (what it compares on) and a folder a model, which is a run of its own.
A model with a `result.json` is done; whoever stops a bench and starts it again goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bottega.data.disk import disk_errors, write_json
from bottega.errors import InputError
from bottega.plots.curves import read_run
from bottega.training.progress import duration

Row = dict[str, Any]


def settle(out: Path, settings: Mapping[str, Any]) -> None:
    """Write down what `out` compares on, or find that it is this; InputError where it is something else."""
    path = out / "lineage.json"
    if not path.is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out} holds something else than this bench; name another folder with --out")
        with disk_errors(out):
            out.mkdir(parents=True, exist_ok=True)
        write_json(path, dict(settings))
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if differing := [f"{name} {before.get(name)}" for name in settings if before.get(name) != settings[name]]:
        raise InputError(
            f"{out} was begun with {', '.join(differing)}; give the same to go on, or another --out"
        )


def same_names(data: Sequence[str]) -> list[str]:
    """The words given as --data, files and folders by their whole paths."""
    return [str(Path(name).resolve()) if Path(name).exists() else name for name in data]


def run_each(
    out: Path, jobs: Mapping[str, Callable[[Path], Row]], minutes: float, console: Console
) -> dict[str, Row]:
    """Let each job work in the folder of its name in `out`, or read what it found there before."""
    rows: dict[str, Row] = {}
    for number, (name, job) in enumerate(jobs.items()):
        done = out / name / "result.json"
        if done.is_file():
            rows[name] = json.loads(done.read_text(encoding="utf-8"))
            continue
        left = duration(60.0 * minutes * sum(not (out / n / "result.json").is_file() for n in jobs))
        console.rule(f"{number + 1} of {len(jobs)}: {name} · at most {left} of training left")
        rows[name] = job(out / name)
        write_json(done, rows[name])
    return rows


@dataclass(frozen=True)
class Trained:
    """What a run's curves tell: seconds of training, tokens read, and held-out values as they fell."""

    seconds: float
    tokens: int
    steps: int
    curve: dict[str, list[float]]
    """Columns `seconds`, `tokens`, `loss` and, of a text, `bits_per_byte`; one entry a validation."""


def trained(run: Path) -> Trained:
    """Read the curves of a finished run."""
    columns = read_run(run)
    steps, held = columns["step"], columns["validation"]
    tokens_a_step = steps["tokens"][-1] / steps["step"][-1]
    curve = {name: values for name, values in held.items() if name != "step"}
    curve["tokens"] = [step * tokens_a_step for step in held.get("step", [])]
    return Trained(steps["seconds"][-1], int(steps["tokens"][-1]), int(steps["step"][-1]), curve)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table whose first `texts` columns are text and whose others are numbers, aligned for the eye too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column < texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width + 2) if n < texts else "-" * (width + 1) + ":" for n, width in enumerate(widths)]
    return "\n".join([line(header), f"|{'|'.join(rule)}|", *map(line, rows)])
