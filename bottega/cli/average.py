"""`bottega average`: one model from the last checkpoints of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Average:
    """Write a model whose weights are the mean of a run's last checkpoints.

    How many there are, and how far apart, say --keep and --save-seconds or --save-every of `bottega train`.

    Example: bottega average runs/multi30k --last 5 --out runs/multi30k-mean
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Folder that `bottega train` wrote."""
    out: Path
    """Folder of the new model."""
    last: int = 5
    """How many checkpoints."""
    json: bool = False
    """Print the result as JSON."""


def main(argv: list[str]) -> None:
    """Average and say what was averaged."""
    asked = tyro.cli(Average, args=argv, prog="bottega average", config=(tyro.conf.FlagCreatePairsOff,))
    from bottega.training.averaging import average

    folders = [folder.name for folder in average(asked.run, asked.last, asked.out)]
    if asked.json:
        print(json.dumps({"out": str(asked.out), "averaged": folders}))
    else:
        print(f"{asked.out}: the mean of {', '.join(folders)}")
