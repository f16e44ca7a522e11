"""`bottega show rollout`: from which patches a Vision Transformer reads the class of a picture."""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

DESCRIPTION = """Draw held-out pictures, and over them what <cls> takes from each patch through all layers.

Example: bottega show rollout runs/vit --data mnist --out rollout.png"""


def main(argv: list[str]) -> None:
    """Parse the arguments, look at pictures, draw, print where the picture is."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_show, args=argv, prog="bottega show rollout", description=DESCRIPTION, config=markers)


def _show(model: Positional[str], data: tuple[str, ...], out: Path, n: int = 12) -> None:
    """Draw attention rollout.

    Args:
        model: a run or a checkpoint folder of a ViT.
        data: embedded, mnist, a .npz file, or a folder of pictures; its held-out part is drawn.
        out: picture to write: .png, .svg or .pdf.
        n: how many pictures.
    """
    import numpy as np
    import torch

    from bottega.cli.pictures import held_out_pictures, lacking, load_seeing, require_count
    from bottega.models.vit import ViT
    from bottega.plots.heat import overlaid
    from bottega.plots.picture_rows import draw_rows

    require_count("n", n, 100)
    loaded = load_seeing(model)
    if not isinstance(loaded, ViT):
        raise lacking(model, loaded, "has no patches that look at each other", "a ViT")
    pictures = held_out_pictures(data, loaded.picture_shape, n).floats()
    heat = np.stack([loaded.rollout(torch.from_numpy(one)).numpy() for one in pictures])
    draw_rows({"held out": pictures, "rollout": overlaid(pictures, heat)}, out)
    print(out)
