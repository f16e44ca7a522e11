"""`bottega lineage labels`: a pre-trained stack beside random weights, by how many labels they have seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, arg

DESCRIPTION = """Accuracy of a deep belief network that is fine-tuned as a classifier, and of the same network
from random weights, by how many labelled pictures they have learned from; writes labels.png and labels.json.

The same command goes on with what was stopped, and takes more --seeds.

Example: bottega lineage labels --data mnist --out runs/labels
         bottega lineage labels --layers 100 100 --steps 500 --pretraining-steps 1000 --out runs/digits"""


def main(argv: list[str]) -> None:
    """Parse the arguments, measure and print."""
    markers = (FlagCreatePairsOff, DisallowNone)
    tyro.cli(_labels, args=argv, prog="bottega lineage labels", description=DESCRIPTION, config=markers)


def _labels(
    out: Path,
    data: str = "embedded",
    sizes: tuple[int, ...] = (100, 300, 1_000, 3_000, 10_000, 60_000),
    layers: tuple[int, ...] = (500, 500),
    pretraining_steps: int = 3_000,
    steps: int = 3_000,
    seeds: int = 5,
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Measure both beginnings on growing numbers of labelled pictures.

    Args:
        out: the folder for the figure, the numbers and the stacks.
        data: embedded, mnist, a .npz file, or a folder of pictures with a subfolder a class.
        sizes: how many labelled pictures are learnt from; those that the data has not are left out.
        layers: widths of the hidden layers.
        pretraining_steps: of each layer, without labels.
        steps: of fine-tuning, whatever it began from.
        seeds: of stacks, choices of pictures and random weights.
        json_: print labels.json instead of the table.
    """
    from rich.console import Console
    from rich.progress import Progress

    from bottega.recipes.lineage_labels import LabelsConfig, run_labels

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("classifiers")
        config = LabelsConfig(data, sizes, layers, pretraining_steps, steps, seeds)
        table = run_labels(out, config, lambda done, of: bar.update(task, completed=done, total=of))
    if json_:
        print((out / "labels.json").read_text(encoding="utf-8"))
    else:
        print(f"{table}\n\n{out / 'labels.png'}")
