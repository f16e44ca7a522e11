"""Deep belief networks as presets: layers learnt greedily, one run each; then the stack as a classifier.

A deep belief network is a list of stages. A stage is a run of the one loop like any other: it trains a
restricted Boltzmann machine, on pictures or on what the machines below make of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.data.picture_batches import PictureBatches
from bottega.data.pictures import Pictures, open_pictures
from bottega.errors import InputError
from bottega.models.dbn import DBN, MODEL_TYPE, DBNConfig
from bottega.models.dbn_classifier import DBNClassifier, DBNClassifierConfig
from bottega.models.load import load
from bottega.models.rbm import RBM
from bottega.recipes.pictures import (
    DATA,
    SHAPE,
    VALIDATION_ROWS,
    PictureTraining,
    fitted,
    gallery,
    train_pictures,
)
from bottega.recipes.preset import Preset, check_free
from bottega.training.distributed import local_device, world_from_environment
from bottega.training.events import Listener, Notice
from bottega.training.loop import Sample, train
from bottega.training.validation import HeldOut, Validation


class StateBatches:
    """What machines make of batches of pictures: their top layer's states, drawn by seed and position.

    Without machines, the pictures themselves.
    """

    def __init__(self, batches: PictureBatches, below: Sequence[RBM]) -> None:
        self.batches = batches
        self.below = DBN.of(below) if below else None

    def next_batch(self) -> dict[str, Tensor]:
        """`pictures`: (batch, 1, 1, units), zeros and ones."""
        batch = self.batches.next_batch()
        return self._states(batch, self.batches.seed, self.batches.step)

    def in_order(self, rows: int) -> Iterator[dict[str, Tensor]]:
        """Every picture once; states are drawn the same way each time."""
        for number, batch in enumerate(self.batches.in_order(rows)):
            yield self._states(batch, 0, number)

    def mean(self) -> Tensor:
        """The mean of all, (channels, height, width)."""
        batches = [batch["pictures"] for batch in self.in_order(VALIDATION_ROWS)]
        return torch.stack([one.sum(0) for one in batches]).sum(0) / sum(map(len, batches))

    def state_dict(self) -> dict[str, Any]:
        """The cursor."""
        return self.batches.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go where the cursor says."""
        self.batches.load_state_dict(state)

    def _states(self, batch: dict[str, Tensor], seed: int, position: int) -> dict[str, Tensor]:
        if self.below is None:
            return {"pictures": batch["pictures"]}
        device = self.below.machines[0].weight.device
        # Far enough apart that no two seeds share their noise within a run.
        generator = torch.Generator(device).manual_seed(2**32 * seed + position)
        states = self.below.states(batch["pictures"], generator)
        return {"pictures": states[:, None, None, :]}


def train_stages(
    shape: DBNConfig,
    taught: Pictures,
    held: Pictures,
    out: Path,
    training: PictureTraining,
    on_event: Listener | None = None,
    *,
    draw: bool = True,
) -> DBN:
    """Train each machine of the stack in `out/stage-1`, `out/stage-2` …, with `training` for each.

    A stage that was stopped goes on, one that is finished is read. With `draw` the stack so far draws samples
    at each validation. Raises what `train` raises.
    """
    rbms: list[RBM] = []
    for number, config in enumerate(shape.machine_configs(), start=1):
        folder, below = out / f"stage-{number}", list(rbms)
        if on_event is not None:
            units = f"{config.pixels:,} and {config.n_hidden:,} units"
            on_event(Notice(f"stage {number} of {len(shape.layers)}: a machine of {units}"))
        torch.manual_seed(training.seed)
        with local_device():
            rbm = RBM(config)
        batches = StateBatches(PictureBatches(taught, training.batch_size, training.seed, binary=True), below)
        rbm.begin_from(batches.mean().to(rbm.weight.device))
        unseen = PictureBatches(held, min(VALIDATION_ROWS, len(held)), binary=True) if len(held) else None
        train(
            rbm,
            batches,
            folder,
            training,
            validation=None if unseen is None else _reconstruction(StateBatches(unseen, below)),
            sample=_samples(folder, below) if draw else None,
            on_event=on_event,
        )
        rbms.append(rbm.eval())
    return DBN.of(rbms)


def _samples(folder: Path, below: list[RBM]) -> Sample:
    """What draws samples of the stack so far: these machines, and on them the one that learns."""

    def draw(model: nn.Module, step: int) -> str:
        assert isinstance(model, RBM)
        stack = DBN.of([*below, model])
        drawn = gallery(folder, stack, torch.empty(0))  # samples need no pictures to begin from
        assert drawn is not None
        return drawn(stack, step)

    return draw


def _reconstruction(batches: StateBatches) -> Validation:
    """How well a machine gives back its data from the probabilities of its hidden units: nats a picture."""

    @torch.no_grad()
    def measure(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, RBM)
        total, count = 0.0, 0
        for batch in batches.in_order(VALIDATION_ROWS):
            v = batch["pictures"].to(model.weight.device)
            mean = model.reconstruct(v).clamp(1e-6, 1 - 1e-6)
            total += float(F.binary_cross_entropy(mean, v, reduction="sum"))
            count += len(v)
        return {"loss": total / count}

    return measure


def train_dbn(
    shape: DBNConfig, data: tuple[str, ...], out: Path, training: PictureTraining, on_event: Listener | None
) -> str:
    """Train a stack on pictures without their labels; the budget is each stage's.

    Raises what `open_pictures` and `train` raise, and InputError where `out` holds something else.
    """

    def say(text: str) -> None:
        if on_event is not None:
            on_event(Notice(text))

    if world_from_environment().size > 1:
        raise InputError("models of pictures are trained by one process here; start it without torchrun")
    check_free(out, MODEL_TYPE)
    taught, held = open_pictures(data, training.size, training.grey, report=say)
    say(f"{len(taught):,} pictures of {'×'.join(map(str, taught.shape))} to train on, {len(held):,} held out")
    dbn = train_stages(fitted(shape, taught), taught, held, out, training, on_event)
    dbn.save_pretrained(out)
    return f"{out}: {len(dbn.config.layers)} stages on {len(taught):,} pictures"


@dataclass(frozen=True)
class FineTuning(PictureTraining):
    """A run's options, and what it begins from."""

    model: str = ""
    """The stack to fine-tune: a run of `bottega train dbn`."""
    forget: bool = False
    """Begin from random weights in the same layers instead, to compare."""


def finetune(
    shape: DBNClassifierConfig,
    data: tuple[str, ...],
    out: Path,
    training: FineTuning,
    on_event: Listener | None,
) -> str:
    """Fine-tune a stack as a classifier, and say what share of the held-out pictures it gets right.

    Raises what `train_pictures` raises, and InputError where no stack is named.
    """
    if not training.model:
        raise InputError("name the stack to fine-tune: --model RUN, of `bottega train dbn`")
    dbn = load(training.model)
    if not isinstance(dbn, DBN):
        raise InputError(f"{training.model} holds no deep belief network; give a run of `bottega train dbn`")

    def make(shape: DBNClassifierConfig) -> DBNClassifier:
        model = DBNClassifier(replace(shape, layers=dbn.config.layers))
        if not training.forget:
            model.begin_from(dbn)
        return model

    trained = train_pictures(
        make,
        shape,
        data,
        out,
        training,
        on_event,
        validation=lambda unseen: HeldOut(partial(unseen.in_order, VALIDATION_ROWS), metrics=("accuracy",)),
    )
    return trained.line


PRESETS: dict[str, Preset] = {
    "dbn": Preset(
        about="a deep belief network: machines learnt greedily upon each other, without labels",
        # With one step the top machine, asked to draw from noise, drew nearly black pictures.
        shape=DBNConfig(k=25),
        training=PictureTraining(
            steps=3_000,
            batch_size=100,
            optimizer="sgd",
            learning_rate=0.1,
            beta1=0.9,
            weight_decay=1e-4,
            clip=0.0,
        ),
        run=train_dbn,
        data=DATA,
        minutes=5.0,
        expected="log p of at least -98.9 nats a picture (the bound), on mnist",
        not_offered=SHAPE,
    ),
    "dbn-classifier": Preset(
        about="a classifier that begins from a deep belief network, which --model names",
        shape=DBNClassifierConfig(),
        training=FineTuning(
            steps=3_000,
            batch_size=100,
            optimizer="adamw",
            learning_rate=1e-3,
            weight_decay=0.01,
            beta2=0.999,
        ),
        run=finetune,
        data=DATA,
        expected="98.4 % of mnist's held-out digits, over a stack of 500 and 500 units",
        not_offered=(*SHAPE, "layers", "classes"),
        base="dbn",
    ),
}
