"""`bottega show masks`: what a SegFormer takes each pixel of held-out scenes for, below what it is."""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

DESCRIPTION = """Draw held-out scenes, what their pixels show, and what a SegFormer takes them for.

Example: bottega show masks runs/segformer --out masks.png"""


def main(argv: list[str]) -> None:
    """Parse the arguments, segment, draw, print where the picture is."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_show, args=argv, prog="bottega show masks", description=DESCRIPTION, config=markers)


def _show(model: Positional[str], out: Path, n: int = 8, objects: int = 4) -> None:
    """Draw the masks of held-out scenes.

    Args:
        model: the run that `bottega train segformer-tiny` wrote, or a folder of it.
        out: picture to write: .png, .svg or .pdf.
        n: how many scenes.
        objects: the most in a scene.
    """
    from bottega.cli.pictures import lacking, load_seeing, require_count
    from bottega.data.scene_batches import SceneBatches
    from bottega.data.scenes import SceneConfig
    from bottega.models.abilities import SegmentsPictures
    from bottega.plots.masks import draw_masks
    from bottega.recipes.segmentation import CLASSES

    require_count("n", n, 40)
    loaded = load_seeing(model)
    if not isinstance(loaded, SegmentsPictures) or tuple(loaded.classes) != CLASSES:
        raise lacking(model, loaded, "segments no scenes", "the run of a SegFormer trained on scenes")
    scenes = SceneConfig(loaded.picture_shape[1], max_objects=objects)
    (batch,) = SceneBatches(scenes, n).in_order(n, n)
    guess = loaded.segment(batch["pictures"]).numpy(force=True)
    draw_masks(batch["pictures"].numpy(), batch["masks"].numpy(), guess, loaded.classes, out)
    print(out)
