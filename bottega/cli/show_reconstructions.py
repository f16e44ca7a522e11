"""`bottega show reconstructions`: held-out pictures above what a model makes of them."""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

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
    seed: int = 0,
) -> None:
    """Draw reconstructions.

    Args:
        model: a run or a checkpoint folder of a model that reconstructs pictures.
        data: embedded, mnist, a .npz file, or a folder of pictures; its held-out part is drawn.
        out: picture to write: .png, .svg or .pdf.
        n: how many pictures.
        noise: deviation of Gaussian noise that each pixel is given first; 0 is none.
        seed: of the noise.
    """
    import torch

    from bottega.cli.pictures import held_out_pictures, lacking, load_seeing, require_count
    from bottega.errors import InputError
    from bottega.models.abilities import ReconstructsPictures
    from bottega.plots.picture_rows import draw_rows

    require_count("n", n, 100)
    if not 0 <= noise <= 10:
        raise InputError(f"--noise must be from 0 to 10, not {noise}")
    loaded = load_seeing(model)
    if not isinstance(loaded, ReconstructsPictures):
        raise lacking(model, loaded, "reconstructs no pictures", "an RBM, DBN, autoencoder or VAE")
    pictures = torch.from_numpy(held_out_pictures(data, loaded.picture_shape, n).floats())
    rows, given = {"held out": pictures}, pictures
    if noise:
        drawn = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(seed))
        given = (pictures + noise * drawn).clamp(0, 1)
        rows[f"with noise of {noise:g}"] = given
    rows["reconstructed"] = loaded.reconstruct(given)
    draw_rows({name: row.float().numpy(force=True) for name, row in rows.items()}, out)
    print(out)
