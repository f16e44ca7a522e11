"""`bottega show reconstructions`: held-out pictures above what a model makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

if TYPE_CHECKING:
    from torch import Tensor

DESCRIPTION = """Draw held-out pictures above what a model makes of them; with --noise of disturbed ones.

Example: bottega show reconstructions runs/vae --data mnist --out reconstructions.png
         bottega show reconstructions runs/denoising --data mnist --noise 0.3 --out denoised.png"""


def main(argv: list[str]) -> None:
    """Parse the arguments, reconstruct, draw, print where the picture is."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_show, args=argv, prog="bottega show reconstructions", description=DESCRIPTION, config=markers)


def _show(
    model: Positional[str],
    data: tuple[str, ...],
    out: Path,
    n: int = 12,
    noise: float = 0.0,
    masking: bool = False,
    seed: int = 0,
) -> None:
    """Draw reconstructions.

    Args:
        model: a run or a checkpoint folder of a model that reconstructs pictures.
        data: embedded, mnist, a .npz file, or a folder of pictures; its held-out part is drawn.
        out: picture to write: .png, .svg or .pdf.
        n: how many pictures.
        noise: deviation of Gaussian noise that each pixel is given first; 0 is none.
        masking: set that share of the pixels to 0 instead.
        seed: of the noise.
    """
    import torch

    from bottega.cli.pictures import held_out_pictures, lacking, load_seeing, require_count
    from bottega.errors import InputError
    from bottega.models.abilities import ReconstructsPictures
    from bottega.plots.picture_rows import draw_rows

    require_count("n", n, 100)
    most = 1 if masking else 10
    if not 0 <= noise <= most:
        raise InputError(f"--noise must be from 0 to {most}, not {noise}")
    loaded = load_seeing(model)
    if not isinstance(loaded, ReconstructsPictures):
        raise lacking(model, loaded, "reconstructs no pictures", "an RBM, DBN, autoencoder or VAE")
    pictures = torch.from_numpy(held_out_pictures(data, loaded.picture_shape, n).floats())
    rows, given = {"held out": pictures}, pictures
    if noise:
        rows["disturbed"] = given = _disturbed(pictures, noise, masking, seed)
    rows["reconstructed"] = loaded.reconstruct(given)
    draw_rows({name: row.float().numpy(force=True) for name, row in rows.items()}, out)
    print(out)


def _disturbed(pictures: Tensor, noise: float, masking: bool, seed: int) -> Tensor:
    import torch

    generator = torch.Generator().manual_seed(seed)
    if masking:
        return pictures * (torch.rand(pictures.shape, generator=generator) >= noise)
    return (pictures + noise * torch.randn(pictures.shape, generator=generator)).clamp(0, 1)
