"""`bottega lineage translation`: recurrent, with attention, Transformer, on the same pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, arg

from bottega.errors import Stopped

DESCRIPTION = """Compare recurrent translators, without and with attention, and a Transformer on equal pairs.

Example: bottega lineage translation --data multi30k --minutes 20 --out runs/translators

Each model trains for --minutes. Stopped half-way, the same command goes on; a model that is done is kept."""


def main(argv: list[str]) -> None:
    """Parse the arguments, run the bench, print the table."""
    markers = (FlagCreatePairsOff, DisallowNone)
    tyro.cli(_lineage, args=argv, prog="bottega lineage translation", description=DESCRIPTION, config=markers)


def _lineage(
    out: Path,
    data: tuple[str, ...] = ("embedded",),
    minutes: float = 10.0,
    source_language: str | None = None,
    target_language: str | None = None,
    vocab_size: int | None = None,
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Compare translators.

    Args:
        out: the folder of the bench: a run a model, the table, the figure.
        data: the pairs, as for training a translator; embedded: numbers in words and digits.
        minutes: minutes of training of each model.
        source_language: as the data call it; en if not given.
        target_language: de if not given; of the embedded pairs, digits.
        vocab_size: tokens that both languages share; 10,000 if not given, 300 for the embedded pairs.
        json_: print results.json instead of the table.
    """
    from rich.console import Console

    from bottega.recipes.lineage_translation import lineage_translation, task

    wanted = task(data, source_language, target_language, vocab_size)
    try:
        table = lineage_translation(out, wanted, minutes, Console(stderr=True))
    except KeyboardInterrupt:
        raise Stopped(f"stopped; the same command goes on with what is in {out}") from None
    print((out / "results.json").read_text(encoding="utf-8") if json_ else f"\n{table}")
