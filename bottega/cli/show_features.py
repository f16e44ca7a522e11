"""`bottega show features`: what the first layer of a model of pictures looks for."""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

DESCRIPTION = """Draw the filters of a model's first layer: grey is 0, white above, black below, each on a
scale of its own.

Example: bottega show features runs/rbm --out features.png"""


def main(argv: list[str]) -> None:
    """Parse the arguments, draw, print where the picture is."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_show, args=argv, prog="bottega show features", description=DESCRIPTION, config=markers)


def _show(model: Positional[str], out: Path, n: int = 100) -> None:
    """Draw filters.

    Args:
        model: a run or a checkpoint folder of a model of pictures.
        out: picture to write: .png, .jpg or .gif.
        n: how many filters at most, the first ones.
    """
    from bottega.cli.pictures import lacking, load_seeing, require_count
    from bottega.data.picture_files import save_picture
    from bottega.models.abilities import HasFeatures
    from bottega.plots.grid import grid
    from bottega.plots.picture_rows import centred

    require_count("n", n, 10_000)
    loaded = load_seeing(model)
    if not isinstance(loaded, HasFeatures):
        raise lacking(model, loaded, "has no filters to show", "an RBM, DBN, autoencoder, VAE or classifier")
    filters = loaded.features()[:n].float().numpy(force=True)
    save_picture(grid(centred(filters)), out)
    print(out)
