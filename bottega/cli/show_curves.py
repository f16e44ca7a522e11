"""`bottega show curves`: the learning curves of runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bottega.errors import InputError


@dataclass(frozen=True)
class Curves:
    """Draw runs' learning curves: loss and bits per byte against steps and seconds.

    Example: bottega show curves runs/first runs/second --out curves.png
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders that `bottega train` wrote; several are drawn over one another."""
    out: Path
    """Picture to write: .png, .svg or .pdf."""


def main(argv: list[str]) -> None:
    """Draw the runs into one picture."""
    markers = (tyro.conf.PositionalMetavarFromFieldName,)
    show = tyro.cli(Curves, args=argv, prog="bottega show curves", config=markers)
    from bottega.plots.curves import draw_curves, read_run

    if not show.runs:
        raise InputError("name at least one run, the folder that `bottega train` wrote")
    names = [run.name if [r.name for r in show.runs].count(run.name) == 1 else str(run) for run in show.runs]
    draw_curves({name: read_run(run) for name, run in zip(names, show.runs, strict=True)}, show.out)
    print(show.out)
