"""`bottega show modes`: which modes of a toy the GANs of some runs have found."""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

DESCRIPTION = """Draw what GANs made of eight Gaussians in a ring, and count: modes found, samples near them.

Example: bottega show modes runs/ring-0 runs/ring-1 --out ring.png"""


def main(argv: list[str]) -> None:
    """Parse the arguments, count, draw, print the table."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_show, args=argv, prog="bottega show modes", description=DESCRIPTION, config=markers)


def _show(runs: Positional[tuple[str, ...]], out: Path, samples: int = 10_000) -> None:
    """Show the samples of runs.

    Args:
        runs: runs of gan-ring; a panel each.
        out: picture to write: .png, .svg or .pdf.
        samples: how many are drawn and counted.
    """
    from rich.console import Console
    from rich.table import Table

    from bottega.cli.pictures import require_count
    from bottega.errors import InputError
    from bottega.evaluation.toys import NEAR, modes_of
    from bottega.models.load import resolve
    from bottega.plots.game import draw_points
    from bottega.recipes.gan import SHOWN, load_with_toy

    require_count("samples", samples, 1_000_000)
    if not runs:
        raise InputError("name at least one run of gan-ring")
    table = Table("run", "modes found", f"within {NEAR:g} deviations", "samples of each mode",
                  box=None, pad_edge=False)  # fmt: skip
    clouds, toy = {}, None
    for run in runs:
        model, its = load_with_toy(resolve(run))
        if its.dimensions != 2 or (toy is not None and its.name != toy.name):
            raise InputError(f"{run} is of the toy {its.name}; give runs of gan-ring, all of one toy")
        toy, points = its, model.sample(samples).numpy(force=True)
        modes = modes_of(points, toy)
        counts = " ".join(f"{count:,}" for count in modes.counts)
        table.add_row(Path(run).name, f"{modes.found} of {len(modes.counts)}", f"{modes.near:.1%}", counts)
        clouds[f"{Path(run).name}: {modes.near:.1%}"] = points[:SHOWN]
    assert toy is not None
    draw_points(clouds, toy.means, NEAR * toy.deviation, out)
    Console(width=max(100, Console().width)).print(table)
    print(out)
