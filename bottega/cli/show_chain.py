"""`bottega show chain`: Gibbs chains of a Boltzmann machine, from left to right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

if TYPE_CHECKING:
    from torch import Tensor

DESCRIPTION = """Draw Gibbs chains: a row is a chain, a column a moment of all chains.

Example: bottega show chain runs/rbm --out chain.png
         bottega show chain runs/rbm --data mnist --steps 1000 --every 100 --out chain.png"""


def main(argv: list[str]) -> None:
    """Parse the arguments, run the chains, draw, print where the picture is."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_show, args=argv, prog="bottega show chain", description=DESCRIPTION, config=markers)


def _show(
    model: Positional[str],
    out: Path,
    data: tuple[str, ...] = (),
    n: int = 10,
    steps: int = 1000,
    every: int = 100,
    seed: int = 0,
) -> None:
    """Draw Gibbs chains.

    Args:
        model: a run or a checkpoint folder of an RBM or DBN.
        out: picture to write: .png, .jpg or .gif.
        data: pictures whose held-out part the chains begin at; they begin at noise if not given.
        n: how many chains.
        steps: how many steps each goes.
        every: steps between two pictures of a chain.
        seed: the same seed gives the same chains.
    """
    from bottega.cli.pictures import held_out_pictures, lacking, load_seeing, require_count
    from bottega.data.picture_files import save_picture
    from bottega.errors import InputError
    from bottega.models.abilities import RunsChains
    from bottega.plots.grid import grid

    require_count("n", n, 100)
    require_count("steps", steps, 1_000_000)
    require_count("every", every, steps)
    if steps // every > 100:
        raise InputError(f"{steps // every:,} pictures a chain; at most 100 are drawn: raise --every")
    loaded = load_seeing(model)
    if not isinstance(loaded, RunsChains):
        raise lacking(model, loaded, "has no Gibbs chain", "an RBM or DBN")
    start: Tensor | int = n
    if data:
        import torch

        start = torch.from_numpy(held_out_pictures(data, loaded.picture_shape, n).floats())
    kept = loaded.chain(start, steps, every, seed).float().numpy(force=True)
    rows = kept.swapaxes(0, 1).reshape(-1, *kept.shape[2:])
    save_picture(grid(rows, columns=len(kept)), out)
    print(out)
