"""`bottega show game`: a GAN on a line at some steps of its run, with D beside the best D."""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

DESCRIPTION = """Draw how a GAN on a line learnt: p of the data, p of the generator, D, and the best D, D*.

Example: bottega show game runs/line --out line.png"""


def main(argv: list[str]) -> None:
    """Parse the arguments, draw, print how far D is from D* and from a half at each step."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_show, args=argv, prog="bottega show game", description=DESCRIPTION, config=markers)


def _show(run: Positional[Path], out: Path, panels: int = 4) -> None:
    """Show the game of a run.

    Args:
        run: a run of gan-line; its checkpoints are the steps to choose from.
        out: picture to write: .png, .svg or .pdf.
        panels: how many steps, from the first checkpoint to the last, ever further apart.
    """
    from rich.console import Console
    from rich.table import Table

    from bottega.cli.pictures import require_count
    from bottega.evaluation.toys import game_on_a_line
    from bottega.plots.game import draw_game
    from bottega.recipes.gan import load_with_toy, steps_of

    require_count("panels", panels, 12)
    games = {}
    for step, folder in steps_of(run, panels).items():
        model, toy = load_with_toy(folder)
        games[step] = game_on_a_line(model, toy)
    draw_game({f"step {step:,}": game for step, game in games.items()}, out)
    table = Table("step", "overlap", "mean |D - D*|", "mean |D - 1/2|", box=None, pad_edge=False)
    for step, game in games.items():
        table.add_row(f"{step:,}", f"{game.overlap:.3f}", f"{game.from_best:.3f}", f"{game.from_half:.3f}")
    Console().print(table)
    print(out)
