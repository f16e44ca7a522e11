"""`bottega show interpolation`: the way from one held-out picture to another, through their codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

if TYPE_CHECKING:
    from bottega.data.pictures import Pictures

DESCRIPTION = """Draw the way from one held-out picture to another: what lies between their codes, decoded.

Example: bottega show interpolation runs/vae --data mnist --out interpolation.png"""


def main(argv: list[str]) -> None:
    """Parse the arguments, interpolate, draw, print where the picture is."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_show, args=argv, prog="bottega show interpolation", description=DESCRIPTION, config=markers)


def _show(model: Positional[str], data: tuple[str, ...], out: Path, n: int = 10, pairs: int = 5) -> None:
    """Draw interpolations.

    Args:
        model: a run or a checkpoint folder of a model that interpolates between pictures.
        data: embedded, mnist, a .npz file, or a folder of pictures; its held-out part is drawn.
        out: picture to write: .png, .svg or .pdf.
        n: pictures in a row, the two ends included.
        pairs: rows, at most; two pairs of the same classes are not drawn.
    """
    import torch

    from bottega.cli.pictures import held_out_pictures, lacking, load_seeing, require_count
    from bottega.models.abilities import InterpolatesPictures
    from bottega.plots.picture_rows import draw_rows

    require_count("n", n, 100)
    require_count("pairs", pairs, 20)
    loaded = load_seeing(model)
    if not isinstance(loaded, InterpolatesPictures):
        raise lacking(model, loaded, "has no way between two pictures", "an autoencoder or VAE")
    pictures = held_out_pictures(data, loaded.picture_shape, 20 * pairs)
    rows = {}
    for name, i in _pairs(pictures, pairs).items():
        a, b = torch.from_numpy(pictures.floats(slice(i, i + 2)))
        rows[name] = loaded.interpolate(a, b, n).float().numpy(force=True)
    draw_rows(rows, out)
    print(out)


def _pairs(pictures: Pictures, most: int) -> dict[str, int]:
    """The names of pairs of neighbours, and where each begins; InputError where there is but one picture."""
    from bottega.data.pictures import NO_LABEL
    from bottega.errors import InputError

    if len(pictures) < 2:
        raise InputError(f"{len(pictures)} held-out picture is no pair; give more pictures")
    found: dict[str, int] = {}
    for i in range(0, len(pictures) - 1, 2):
        a, b = (int(label) for label in pictures.labels[i : i + 2])
        named = NO_LABEL not in (a, b)
        name = f"{pictures.classes[a]} → {pictures.classes[b]}" if named else f"pair {i // 2 + 1}"
        if not (named and a == b):
            found.setdefault(name, i)
    return dict(list(found.items())[:most])
