"""`bottega lineage text`: language models from the n-gram to the GPT on the same text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, arg

from bottega.errors import Stopped

DESCRIPTION = """Compare n-gram, HMM, RNN, LSTM, GRU and GPT on the same tokens, in held-out bits per byte.

Example: bottega lineage text --data shakespeare --minutes 10 --out runs/lineage

Each model trains for --minutes. Stopped half-way, the same command goes on; a model that is done is kept."""


def main(argv: list[str]) -> None:
    """Parse the arguments, run the bench, print the table."""
    markers = (FlagCreatePairsOff, DisallowNone)
    tyro.cli(_lineage, args=argv, prog="bottega lineage text", description=DESCRIPTION, config=markers)


def _lineage(
    out: Path,
    data: tuple[str, ...] = ("embedded",),
    minutes: float = 10.0,
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Compare language models.

    Args:
        out: the folder of the bench: a run a model, the table, the figure.
        data: the text: embedded, data sets of the catalog, files and folders, or one prepared folder.
        minutes: minutes of training of each model.
        json_: print results.json instead of the table.
    """
    from rich.console import Console

    from bottega.recipes.lineage_text import lineage_text

    try:
        table = lineage_text(out, data, minutes, Console(stderr=True))
    except KeyboardInterrupt:
        raise Stopped(f"stopped; the same command goes on with what is in {out}") from None
    print((out / "results.json").read_text(encoding="utf-8") if json_ else f"\n{table}")
