"""How fast do models of pictures learn, beside other projects, on one core?

    python bench/pictures.py                        # all of them, on MNIST
    python bench/pictures.py rbm --pictures 20000
    python bench/pictures.py --quick                # seconds: shows that everything is in place

Both sides learn from the same pictures in the same order of sizes, one thread each, in turn, and the medians
of the rounds are compared. Speed is in seconds of the processor, which other programs do not take away.
Reading the data, checkpoints and validation are part of no time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from report import record
from threadpoolctl import threadpool_limits

from bottega.data.picture_batches import PictureBatches
from bottega.data.pictures import Pictures, open_pictures
from bottega.training.config import TrainingConfig
from bottega.training.loop import train

Row = dict[str, object]


@dataclass(frozen=True)
class Options:
    """What is measured on what."""

    pictures: Pictures
    rounds: int
    quick: bool


def main() -> None:
    """Measure each system that was named and write its rows down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("systems", nargs="*", choices=[*SYSTEMS, []], help="default: all")
    parser.add_argument("--data", default="mnist", help="pictures")
    parser.add_argument("--pictures", type=int, help="how many of them, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--quick", action="store_true", help="the embedded digits, one round, nothing written"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    taught, _ = open_pictures(["embedded" if asked.quick else asked.data])
    some = taught.where(np.arange(min(len(taught), asked.pictures or len(taught))))
    options = Options(some, 1 if asked.quick else asked.rounds, asked.quick)
    with threadpool_limits(1):
        for system in asked.systems or SYSTEMS:
            for row in SYSTEMS[system](options):
                print(row, flush=True)
                if not asked.quick:
                    record("pictures", row)


def in_turn(rounds: int, *sides: Callable[[], float]) -> list[float]:
    """The median seconds of each side, which take turns, so that all see the same machine."""
    return [
        median(column) for column in zip(*([side() for side in sides] for _ in range(rounds)), strict=True)
    ]


def processor_seconds(work: Callable[[], object]) -> float:
    """The seconds of the processor that `work` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def epoch_of(model: torch.nn.Module, pictures: Pictures, config: TrainingConfig) -> float:
    """The seconds of the processor of one epoch by the training loop, without its first steps and its end."""
    marks: list[float] = []

    class Marked(PictureBatches):
        def next_batch(self) -> dict[str, torch.Tensor]:
            marks.append(time.process_time())
            return super().next_batch()

    with tempfile.TemporaryDirectory() as folder:
        train(model, Marked(pictures, config.batch_size, config.seed), Path(folder) / "run", config)
    # The first call only looks, the next is the first step; what is between two steps is all that a step is.
    steps = np.diff(marks[2:])
    return float(steps.mean()) * (len(pictures) / config.batch_size)


def rbm(options: Options) -> Iterator[Row]:
    """An epoch of PCD-1, 500 hidden units, beside scikit-learn's BernoulliRBM, which knows no other."""
    from sklearn.neural_network import BernoulliRBM

    from bottega.models.rbm import RBM, RBMConfig

    lit = (options.pictures.pixels > 127).astype(np.uint8)
    pictures = Pictures(255 * lit, options.pictures.labels)
    channels, height, width = pictures.shape
    flat = lit.reshape(len(lit), -1).astype(np.float32)
    units = 50 if options.quick else 500

    for rows in (100, 10):
        steps = len(pictures) // rows

        def ours(precision: str, rows: int = rows, steps: int = steps) -> float:
            model = RBM(RBMConfig(channels, height, width, units, persistent=True, n_chains=rows))
            config = TrainingConfig(
                steps=steps,
                batch_size=rows,
                optimizer="sgd",
                learning_rate=0.01,
                beta1=0.0,
                weight_decay=0.0,
                clip=0.0,
                schedule="constant",
                warmup_steps=0,
                precision=precision,  # type: ignore[arg-type]
            )
            return epoch_of(model, pictures, config)

        def theirs(rows: int = rows) -> float:
            machine = BernoulliRBM(units, learning_rate=0.01, batch_size=rows, n_iter=1, random_state=0)
            return processor_seconds(lambda: machine.fit(flat))

        half, full, rival = in_turn(options.rounds, lambda: ours("bf16"), lambda: ours("fp32"), theirs)
        yield {
            "case": f"RBM, PCD-1, {units} hidden units, {len(pictures):,} pictures, batches of {rows}",
            "rival": "scikit-learn BernoulliRBM, fp32",
            "our seconds": round(half, 3),
            "our seconds in fp32": round(full, 3),
            "their seconds": round(rival, 3),
            "speed ratio": round(rival / half, 2),
            "speed ratio in fp32": round(rival / full, 2),
        }


SYSTEMS: dict[str, Callable[[Options], Iterator[Row]]] = {"rbm": rbm}


if __name__ == "__main__":
    main()
