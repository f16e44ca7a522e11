"""`bottega show scenes`: drawn scenes with their captions, boxes and masks."""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, PositionalMetavarFromFieldName

DESCRIPTION = """Draw scenes of coloured shapes with their captions, boxes (dashed) and masks.

Example: bottega show scenes --n 12 --out scenes.png"""


def main(argv: list[str]) -> None:
    """Parse the arguments, draw, print where the picture is."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_show, args=argv, prog="bottega show scenes", description=DESCRIPTION, config=markers)


def _show(out: Path, n: int = 12, size: int = 64, objects: int = 4, seed: int = 0) -> None:
    """Draw scenes.

    Args:
        out: picture to write: .png, .svg or .pdf.
        n: how many scenes.
        size: pixels of a side of each.
        objects: the most in a scene.
        seed: begins another row of scenes.
    """
    from bottega.cli.pictures import require_count
    from bottega.data.scene_captions import describe
    from bottega.data.scenes import SHAPES, SceneConfig, render, sample_scene
    from bottega.errors import InputError
    from bottega.plots.masks import draw_scenes

    require_count("n", n, 40)
    if seed < 0:
        raise InputError(f"--seed must be 0 or more, not {seed}")
    config = SceneConfig(size, max_objects=objects)
    scenes = [sample_scene(config, seed, number) for number in range(n)]
    drawn = render(scenes, size)
    captions = [describe(scene, number) for number, scene in enumerate(scenes)]
    draw_scenes(drawn.pixels, drawn.boxes, drawn.masks, captions, ("background", *SHAPES), out)
    print(out)
