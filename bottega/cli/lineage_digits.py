"""`bottega lineage digits`: mixture, RBM, DBN, VAE and GAN on the same pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, arg

from bottega.errors import Stopped

DESCRIPTION = """Compare mixture, RBM, DBN, VAE and GAN on the same pictures: their samples, log p by its
kind, and FID and KID in the features of a classifier that is trained beside them.

Example: bottega lineage digits --data mnist --minutes 2 --out runs/digits

Each model trains for --minutes. Stopped half-way, the same command goes on; a model that is done is kept."""


def main(argv: list[str]) -> None:
    """Parse the arguments, run the bench, print the table."""
    markers = (FlagCreatePairsOff, DisallowNone)
    tyro.cli(_lineage, args=argv, prog="bottega lineage digits", description=DESCRIPTION, config=markers)


def _lineage(
    out: Path,
    data: tuple[str, ...] = ("embedded",),
    minutes: float = 2.0,
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Compare models of pictures.

    Args:
        out: the folder of the bench: a run a model, the table, the figure.
        data: the pictures: embedded, mnist, a .npz file, or a folder with a subfolder a class.
        minutes: minutes of training of each model; the mixture takes what it takes.
        json_: print results.json instead of the table.
    """
    from rich.console import Console

    from bottega.recipes.lineage_digits import lineage_digits

    try:
        table = lineage_digits(out, data, minutes, Console(stderr=True))
    except KeyboardInterrupt:
        raise Stopped(f"stopped; the same command goes on with what is in {out}") from None
    print((out / "results.json").read_text(encoding="utf-8") if json_ else f"\n{table}")
