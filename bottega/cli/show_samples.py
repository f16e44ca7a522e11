"""`bottega show samples`: what a run drew while it learnt."""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

DESCRIPTION = """Draw what a run drew while it learnt: side by side, or as a film (.gif).

Example: bottega show samples runs/gan --out progress.png
         bottega show samples runs/gan --every 2 --out training.gif"""


def main(argv: list[str]) -> None:
    """Parse the arguments, join the pictures, print where they are."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_show, args=argv, prog="bottega show samples", description=DESCRIPTION, config=markers)


def _show(
    run: Positional[Path], out: Path, every: int = 1, milliseconds: int = 300, width: int = 480
) -> None:
    """Show the pictures of a run.

    Args:
        run: a run of a model of pictures; its grids lie in RUN/samples. What has none, such as a mixture,
            shows what it draws now.
        out: picture to write: .gif, a film of all; .png, .svg or .pdf, up to six side by side.
        every: take the last grid, and before it only each so many.
        milliseconds: how long a film shows each.
        width: of a film in pixels, at most.
    """
    from bottega.cli.pictures import load_seeing, require_count
    from bottega.data.picture_files import read_picture, save_gif
    from bottega.errors import InputError
    from bottega.models.abilities import SamplesPictures
    from bottega.plots.grid import grid
    from bottega.plots.picture_rows import draw_steps

    require_count("every", every, 1_000_000)
    require_count("milliseconds", milliseconds, 60_000)
    require_count("width", width, 4096)
    files = sorted((run / "samples").glob("step-*.png"))[::-1][::every][::-1]
    grids = {f"step {int(file.stem.removeprefix('step-')):,}": read_picture(file) for file in files}
    if not grids:
        model = load_seeing(str(run))
        if not isinstance(model, SamplesPictures):
            raise InputError(f"{run}: no pictures in {run / 'samples'}, and the model draws none")
        grids = {"drawn now": grid(model.sample(64).float().numpy(force=True))}
    if out.suffix.lower() == ".gif":
        frames = [page.copy() for page in grids.values()]
        for frame in frames:
            frame.thumbnail((width, 10 * width))
        save_gif(frames, out, milliseconds)
    else:
        draw_steps(grids, out)
    print(out)
