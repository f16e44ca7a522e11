"""`bottega sample`: pictures drawn from a model, as one picture."""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

DESCRIPTION = """Draw pictures from a model of pictures and lay them out as one.

Example: bottega sample runs/vae --n 64 --out grid.png"""

MOST = 10_000  # pictures in a grid


def main(argv: list[str]) -> None:
    """Parse the arguments, draw, print where the picture is."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_sample, args=argv, prog="bottega sample", description=DESCRIPTION, config=markers)


def _sample(
    model: Positional[str],
    out: Path,
    n: int = 64,
    seed: int = 0,
    columns: int | None = None,
    scale: int | None = None,
) -> None:
    """Draw pictures.

    Args:
        model: a run or a checkpoint folder of a model that draws pictures.
        out: picture to write: .png, .jpg or .gif.
        n: how many pictures.
        seed: the same seed gives the same pictures.
        columns: pictures in a row; about as many as rows if not given.
        scale: side of the square that a pixel becomes; as large as fits 1,024 if not given.
    """
    from bottega.cli.pictures import lacking, load_seeing, require_count
    from bottega.data.picture_files import save_picture
    from bottega.models.abilities import SamplesPictures
    from bottega.plots.grid import grid

    require_count("n", n, MOST)
    require_count("columns", columns if columns is not None else 1, MOST)
    require_count("scale", scale if scale is not None else 1, 64)
    loaded = load_seeing(model)
    if not isinstance(loaded, SamplesPictures):
        raise lacking(model, loaded, "draws no pictures", "a mixture, RBM, DBN, VAE or GAN")
    save_picture(grid(loaded.sample(n, seed).float().numpy(force=True), columns, scale), out)
    print(out)
