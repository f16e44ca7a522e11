"""`bottega show manifold`: where held-out pictures lie in a model's code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bottega.models.abilities import EncodesPictures

DESCRIPTION = """Draw the codes of held-out pictures on a plane, a colour a class; where a code has two
numbers, beside them what the plane decodes to.

Example: bottega show manifold runs/vae --data mnist --out manifold.png"""


def main(argv: list[str]) -> None:
    """Parse the arguments, encode, draw, print where the picture is."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_show, args=argv, prog="bottega show manifold", description=DESCRIPTION, config=markers)


def _show(model: Positional[str], data: tuple[str, ...], out: Path, n: int = 5000, side: int = 20) -> None:
    """Draw a map of codes.

    Args:
        model: a run or a checkpoint folder of a model that encodes pictures.
        data: embedded, mnist, a .npz file, or a folder of pictures; its held-out part is drawn.
        out: picture to write: .png, .svg or .pdf.
        n: how many pictures at most.
        side: pictures along a side of the square that is decoded.
    """
    import torch

    from bottega.cli.pictures import held_out_pictures, lacking, load_seeing, require_count
    from bottega.models.abilities import EncodesPictures
    from bottega.plots.manifold import draw_manifold, on_plane

    require_count("n", n, 1_000_000)
    require_count("side", side, 60)
    loaded = load_seeing(model)
    if not isinstance(loaded, EncodesPictures):
        raise lacking(model, loaded, "has no codes to map", "an RBM, DBN, autoencoder or VAE")
    pictures = held_out_pictures(data, loaded.picture_shape, n)
    codes = loaded.encode(torch.from_numpy(pictures.floats())).float().numpy(force=True)
    plane, names = on_plane(codes)
    decoded, title = (None, "") if codes.shape[1] != 2 else _decoded(loaded, codes, side)
    draw_manifold(plane, names, pictures.labels, pictures.classes, out, decoded, title)
    print(out)


def _decoded(
    model: EncodesPictures, codes: NDArray[np.floating], side: int
) -> tuple[NDArray[np.floating], str]:
    """What a square of codes decodes to, and how it was laid over them."""
    import torch

    from bottega.models.abilities import SamplesPictures
    from bottega.plots.manifold import square

    if isinstance(model, SamplesPictures):  # its codes are drawn from N(0, 1)
        plane, title = square(side), "decoded: quantiles of the prior N(0, 1)"
    else:
        plane = square(side, codes.mean(0), codes.std(0))
        title = "decoded: quantiles of a Gaussian around these codes"
    pictures = model.decode(torch.from_numpy(plane).float()).float().numpy(force=True)
    return pictures, title
