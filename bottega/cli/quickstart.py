"""`bottega quickstart`: the main job, from raw text to a model behind the OpenAI API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff

from bottega.errors import Stopped

if TYPE_CHECKING:
    from rich.console import Console

    from bottega.recipes.quickstart import Comparison

DESCRIPTION = """Train a GPT on this machine in minutes, compare it with an n-gram, and serve it.

Example: bottega quickstart --minutes 4 --out runs/quickstart
         bottega quickstart --data books/ --out runs/books

Run again, it serves the model that it has; stopped half-way, it goes on."""


def main(argv: list[str]) -> None:
    """Parse the arguments, train or find the model, serve it."""
    markers = (FlagCreatePairsOff, DisallowNone)
    tyro.cli(_quickstart, args=argv, prog="bottega quickstart", description=DESCRIPTION, config=markers)


def _quickstart(
    minutes: float | None = None,
    data: tuple[str, ...] = (),
    text_field: str = "text",
    out: Path = Path("runs/quickstart"),
    host: str = "127.0.0.1",
    port: int = 8000,
    no_serve: bool = False,
    retrain: bool = False,
) -> None:
    """From raw text to a served GPT.

    Args:
        minutes: minutes of training, 4 if not given.
        data: files, folders or data sets of the catalog; without it, the text that this Python carries.
        text_field: the field of .jsonl and .parquet that holds the text.
        out: the folder of the run.
        host: the address to serve on.
        port: the port to serve on; 0 takes a free one.
        no_serve: stop when the model is trained and compared.
        retrain: start over; the run in --out is removed once the text is found to be sound.
    """
    from rich.console import Console

    from bottega.recipes.quickstart import quickstart
    from bottega.server.run import listen

    if not no_serve:
        listen(host, port).close()  # a taken port is told before the minutes are spent
    console = Console()
    try:
        comparison = quickstart(out, data, minutes, text_field=text_field, retrain=retrain, console=console)
    except KeyboardInterrupt:
        raise Stopped(f"stopped; the same command goes on with what is in {out}") from None
    _report(out, comparison, console)
    if no_serve:
        return
    from bottega.server.run import serve

    serve({out.resolve().name: str(out)}, host=host, port=port)


def _report(out: Path, comparison: Comparison, console: Console) -> None:
    from rich.table import Table

    c = comparison
    table = Table("held-out bits per byte", "", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    table.add_row("GPT before training", f"{c.untrained:.3f}")
    table.add_row(f"{c.ngram_same_tokens_order}-gram on the same tokens", f"{c.ngram_same_tokens:.3f}")
    table.add_row(f"{c.ngram_whole_corpus_order}-gram on the whole corpus", f"{c.ngram_whole_corpus:.3f}")
    table.add_row(f"GPT, {c.gpt_parameters / 1e6:.1f} million parameters", f"[bold]{c.gpt:.3f}[/bold]")
    console.print(table)
    fewer = f"{c.saving:.1%} fewer" if c.saving >= 0 else f"{-c.saving:.1%} more"
    console.print(
        f"\nThe GPT needs {fewer} bits than the n-gram that read the same {c.tokens_seen:,} tokens "
        f"({c.epochs:.2f} of the corpus) in {c.training_seconds / 60:.1f} minutes of training. "
        f"Held out: {c.held_out_bytes / 1e3:.0f} kB.\nThe curve is in {out / 'curve.png'}.",
        highlight=False,
    )
