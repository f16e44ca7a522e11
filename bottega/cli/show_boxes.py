"""`bottega show boxes`: what a DETR finds in held-out scenes, beside what is there."""

from __future__ import annotations

from pathlib import Path

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

DESCRIPTION = """Draw held-out scenes with the boxes that a DETR finds; the true ones are dashed.

Example: bottega show boxes runs/detr --attention --out boxes.png"""


def main(argv: list[str]) -> None:
    """Parse the arguments, find, draw, print where the picture is."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_show, args=argv, prog="bottega show boxes", description=DESCRIPTION, config=markers)


def _show(
    model: Positional[str],
    out: Path,
    n: int = 8,
    objects: int = 4,
    threshold: float = 0.5,
    attention: bool = False,
) -> None:
    """Draw the boxes found in held-out scenes.

    Args:
        model: the run that `bottega train detr-tiny` wrote, or a folder of it.
        out: picture to write: .png, .svg or .pdf.
        n: how many scenes.
        objects: the most in a scene.
        threshold: the least probability of a class with which a box is drawn.
        attention: draw too where each query that found something looks, in its box's colour.
    """
    from bottega.cli.pictures import lacking, load_seeing, require_count
    from bottega.data.scene_batches import SceneBatches
    from bottega.data.scenes import SHAPES, SceneConfig
    from bottega.models.detr import DETR
    from bottega.plots.boxes import draw_boxes
    from bottega.recipes.detection import boxed

    require_count("n", n, 40)
    loaded = load_seeing(model)
    if not isinstance(loaded, DETR) or loaded.config.n_class != len(SHAPES):
        raise lacking(model, loaded, "finds no shapes of scenes", "the run of a DETR trained on scenes")
    scenes = SceneConfig(loaded.config.height, max_objects=objects)
    (batch,) = SceneBatches(scenes, n).in_order(n, n)
    draw_boxes(boxed(loaded, batch, threshold, attention), out)
    print(out)
