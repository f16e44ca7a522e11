"""What learning without labels is worth: a pre-trained stack against the same network from random weights.

Hinton, Osindero & Teh (2006) and Bengio et al. (2007): layers that have learnt what pictures look like need
few labels to tell them apart. Both networks see the same labelled pictures in the same batches for as many
steps; the one begins from machines that were trained on all pictures without their labels, the other from
random weights.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bottega.data.disk import disk_errors, write_json
from bottega.data.picture_batches import PictureBatches
from bottega.data.pictures import Pictures, open_pictures
from bottega.errors import InputError
from bottega.interop.locate import read_json
from bottega.models.dbn import DBN, DBNConfig
from bottega.models.dbn_classifier import DBNClassifier, DBNClassifierConfig
from bottega.plots.sizes import draw_against_size
from bottega.recipes.dbn import PRESETS, train_stages
from bottega.recipes.pictures import fitted
from bottega.training.config import TrainingConfig
from bottega.training.distributed import local_device
from bottega.training.loop import train

Curves = dict[str, dict[int, list[float]]]  # beginning → labelled pictures → accuracy, by seed
Progress = Callable[[int, int], None]
KINDS = ("pre-trained", "random weights")


@dataclass(frozen=True)
class LabelsConfig:
    """What is measured. Raises InputError for values that make no sense.

    Attributes:
        data: one source of pictures with labels.
        sizes: how many labelled pictures are learnt from; those that the data has not are left out.
        layers: widths of the hidden layers.
        pretraining_steps: of each machine of a stack.
        steps: of each classifier, whatever it began from.
        seeds: stacks, choices of pictures and random weights, of which there are so many.
    """

    data: str = "embedded"
    sizes: tuple[int, ...] = (100, 300, 1_000, 3_000, 10_000, 60_000)
    layers: tuple[int, ...] = (500, 500)
    pretraining_steps: int = 3_000
    steps: int = 3_000
    seeds: int = 5

    def __post_init__(self) -> None:
        for name in ("pretraining_steps", "steps", "seeds"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 1")
        if not self.sizes or min(self.sizes) < 2:
            raise InputError(f"sizes are {self.sizes}; expected numbers of pictures, each at least 2")
        DBNConfig(layers=self.layers)

    def fine_tuning(self, size: int, seed: int) -> TrainingConfig:
        """How a classifier of so many pictures learns."""
        return TrainingConfig(
            steps=self.steps,
            batch_size=min(100, size),
            optimizer="adamw",
            learning_rate=1e-3,
            weight_decay=0.01,
            beta2=0.999,
            seed=seed,
        )


def run_labels(out: Path, config: LabelsConfig, progress: Progress | None = None) -> str:
    """Measure both beginnings for all sizes; write labels.png and labels.json into `out`, return the table.

    What `out` has measured already is not measured again, and a run that was stopped goes on. Raises
    InputError where `out` was begun with other settings, or the pictures have no labels.
    """
    taught, held = open_pictures([config.data])
    shape = fitted(DBNClassifierConfig(layers=config.layers), taught)
    if not len(held):
        raise InputError(f"{config.data}: none of so few pictures is held out to measure on; give more")
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    curves = _begun(out / "labels.json", config)
    sizes = sorted({min(size, len(taught)) for size in config.sizes})
    rounds = [(seed, size) for seed in range(config.seeds) for size in sizes]
    for number, (seed, size) in enumerate(rounds, start=1):
        measured = {kind: curves[kind].setdefault(size, []) for kind in KINDS}
        if len(measured[KINDS[-1]]) <= seed:
            options = replace(_PRETRAINING, steps=config.pretraining_steps, seed=seed)
            stack = train_stages(
                DBNConfig(*taught.shape, config.layers),
                taught,
                held,
                out / f"stack-{seed}",
                options,
                draw=False,
            )
            order = np.random.default_rng(seed).permutation(len(taught))
            few = taught.where(order[:size])
            for kind, begun in zip(KINDS, (stack, None), strict=True):
                folder = out / f"{kind.split()[0]}-{size}-{seed}"
                model = _fine_tuned(folder, shape, begun, few, config.fine_tuning(size, seed))
                measured[kind].append(_accuracy(model, held))
                shutil.rmtree(folder)
            values = {"settings": asdict(config), "curves": curves, "held_out": len(held)}
            write_json(out / "labels.json", values)
        if progress:
            progress(number, len(rounds))
    draw_against_size(
        {f"{config.data}, {config.seeds} seeds": curves},
        out / "labels.png",
        size="labelled pictures",
        quantity=f"accuracy on {len(held):,} held-out pictures",
    )
    return _table(curves)


def _begun(path: Path, config: LabelsConfig) -> Curves:
    """What is measured already; InputError where it was with other settings."""
    if not path.exists():
        return {kind: {} for kind in KINDS}
    values = read_json(path)
    settings = json.loads(json.dumps(asdict(config)))
    # More seeds only go on.
    if values.get("settings", {}) | {"seeds": config.seeds} != settings:
        raise InputError(f"{path} was measured with other settings; use the same, or another --out")
    return {
        kind: {int(size): points[: config.seeds] for size, points in values["curves"][kind].items()}
        for kind in KINDS
    }


def _fine_tuned(
    folder: Path, shape: DBNClassifierConfig, stack: DBN | None, few: Pictures, options: TrainingConfig
) -> DBNClassifier:
    """A classifier of `few` pictures that begins from the stack, or from random weights."""
    torch.manual_seed(options.seed)
    with local_device():
        model = DBNClassifier(shape)
    if stack is not None:
        model.begin_from(stack)
    train(model, PictureBatches(few, options.batch_size, options.seed), folder, options)
    return model.eval()


def _accuracy(model: DBNClassifier, held: Pictures) -> float:
    device = model.head.weight.device
    right = 0
    for start in range(0, len(held), 1_000):
        part = slice(start, start + 1_000)
        best = model.predict_proba(torch.from_numpy(held.floats(part)).to(device)).argmax(1)
        right += int((best == held.labels[part]).sum())
    return right / len(held)


def _table(curves: Curves) -> str:
    lines = ["labels".rjust(7) + "".join(kind.rjust(18) for kind in curves) + "difference".rjust(14)]
    for size in sorted(curves[KINDS[0]]):
        points = [curves[kind][size] for kind in KINDS]
        cells = [f"{statistics.fmean(of):.2%} ± {statistics.pstdev(of):.2%}".rjust(18) for of in points]
        gain = statistics.fmean(points[0]) - statistics.fmean(points[1])
        lines.append(f"{size:7,}" + "".join(cells) + f"{100 * gain:+.2f}".rjust(14))
    return "\n".join(lines)


_PRETRAINING = PRESETS["dbn"].training
