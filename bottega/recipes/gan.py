"""Generative adversarial nets as presets: over points of known density, and over pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bottega.data.disk import disk_errors
from bottega.data.toys import Toy, ToyBatches, open_toy
from bottega.errors import InputError
from bottega.evaluation.toys import NEAR, game_on_a_line, modes_of
from bottega.interop.locate import read_json
from bottega.models.dcgan import DCGAN, DCGANConfig
from bottega.models.gan import GAN, GANConfig
from bottega.models.point_gan import PointGAN, PointGANConfig
from bottega.models.wgan_gp import WGANGP, WGANGPConfig
from bottega.plots.game import draw_game, draw_points
from bottega.recipes.pictures import DATA, SHAPE, PictureTraining, train_pictures
from bottega.recipes.preset import Preset
from bottega.training.config import TrainingConfig
from bottega.training.distributed import local_device, world_from_environment
from bottega.training.events import Listener
from bottega.training.loop import Sample, train

SHOWN = 2_000  # points in a picture
MEASURED = 10_000  # samples that are counted at the end

_MODELS: dict[type, Callable[..., nn.Module]] = {GANConfig: GAN, DCGANConfig: DCGAN, WGANGPConfig: WGANGP}


def train_on_pictures(
    shape: GANConfig | DCGANConfig | WGANGPConfig,
    data: tuple[str, ...],
    out: Path,
    training: PictureTraining,
    on_event: Listener | None,
) -> str:
    """Train the GAN of this shape on pictures; raises what `train_pictures` raises.

    A GAN has no loss on held-out data: there is no best checkpoint, and `bottega eval` compares its samples.
    """
    return train_pictures(_MODELS[type(shape)], shape, data, out, training, on_event).line


def train_on_points(
    own: str,
    shape: PointGANConfig,
    data: tuple[str, ...],
    out: Path,
    training: TrainingConfig,
    on_event: Listener | None,
) -> str:
    """Train a GAN on the toy that `data` names; `embedded` is the preset's `own`.

    A picture goes to `out/samples` now and then. Raises InputError where there is no such toy, or more
    processes than one; what `train` raises.
    """
    if world_from_environment().size > 1:
        raise InputError("GANs over points are trained by one process; start it without torchrun")
    if len(data) != 1:
        raise InputError(f"{len(data)} toys given; expected one")
    toy = open_toy(own if data[0] == "embedded" else data[0])
    if shape.dimensions != toy.dimensions:
        raise InputError(
            f"{toy.name} has {toy.dimensions} dimensions and the model {shape.dimensions}; "
            f"set --dimensions {toy.dimensions}"
        )
    torch.manual_seed(training.seed)
    with local_device():
        model = PointGAN(shape)
    batches = ToyBatches(toy, training.batch_size, training.seed)
    result = train(model, batches, out, training, sample=_drawing(toy, out), on_event=on_event)
    modes = modes_of(model.sample(MEASURED).numpy(force=True), toy)
    return (
        f"{result.checkpoint}: {result.step:,} steps; of {MEASURED:,} samples {modes.near:.1%} within "
        f"{NEAR:g} deviations, {modes.found} of {len(modes.counts)} modes found"
    )


def load_with_toy(folder: Path) -> tuple[PointGAN, Toy]:
    """The model of a checkpoint, and the toy that its run learnt from.

    Raises InputError where it is damaged, or of another kind of run.
    """
    model = PointGAN.from_pretrained(folder)
    toy = read_json(folder / "state" / "state.json").get("cursor", {}).get("toy")
    if not isinstance(toy, str):
        raise InputError(f"{folder} does not say what it learnt from; give a run of gan-ring or gan-line")
    return model, open_toy(toy)


def steps_of(run: Path, most: int) -> dict[int, Path]:
    """Checkpoints of a run by their step, at most so many, ever further apart: most change is early.

    Raises InputError where there are none.
    """
    names = (path.name.removeprefix("step-") for path in run.glob("step-*"))
    steps = np.array(sorted(int(name) for name in names if name.isdecimal()))
    if not len(steps):
        raise InputError(f"{run} has no checkpoints (step-…); give the folder that `bottega train` wrote")
    wanted = np.geomspace(steps[0], steps[-1], most)
    nearest = sorted({int(steps[np.abs(steps - one).argmin()]) for one in wanted})
    return {step: run / f"step-{step}" for step in nearest}


def _drawing(toy: Toy, out: Path) -> Sample:
    def draw(model: nn.Module, step: int) -> str:
        assert isinstance(model, PointGAN)
        file = out / "samples" / f"step-{step:06d}.png"
        with disk_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        if toy.dimensions == 1:
            draw_game({f"step {step:,}": game_on_a_line(model, toy)}, file)
        else:
            points = model.sample(SHOWN).numpy(force=True)
            draw_points({f"step {step:,}": points}, toy.means, NEAR * toy.deviation, file)
        return f"drawn: {file}"

    return draw


# Adam's momentum as Radford et al. (2016, section 4) set it. Nothing decays, and nothing is clipped: it would
# change the game. In bf16 the discriminator of points cannot tell near ones apart.
_POINTS = TrainingConfig(
    steps=4_000,
    batch_size=256,
    optimizer="adamw",
    learning_rate=1e-3,
    beta1=0.5,
    beta2=0.999,
    weight_decay=0.0,
    clip=0.0,
    warmup_steps=0,
    precision="fp32",
)
_PICTURES = PictureTraining(
    steps=4_000,
    batch_size=64,
    optimizer="adamw",
    learning_rate=2e-4,
    beta1=0.5,
    beta2=0.999,
    weight_decay=0.0,
    clip=0.0,
    warmup_steps=0,
)

PRESETS: dict[str, Preset] = {
    "gan-ring": Preset(
        about="a GAN on eight Gaussians in a ring (Goodfellow et al. 2014, algorithm 1)",
        shape=PointGANConfig(),
        training=_POINTS,
        run=partial(train_on_points, "ring"),
        data="embedded, the ring itself",
        minutes=0.6,
        expected="8 of 8 modes, 92 to 94 % of samples within 3 deviations, over five seeds",
        not_offered=("dimensions",),
    ),
    "gan-line": Preset(
        about="a GAN on one Gaussian on a line, which shows D beside the best D",
        # Twenty updates bring D near D*, which the figure is about; the paper's own k is 1 (section 4).
        shape=PointGANConfig(dimensions=1, latent=4, hidden=64, k=20),
        training=replace(_POINTS, steps=400, batch_size=20 * 128, save_every=10, keep=50, validate_every=20),
        run=partial(train_on_points, "line"),
        data="embedded, the Gaussian itself; two, for two of them",
        minutes=0.4,
        expected="mean |D - D*| 0.007, mean |D - 1/2| 0.014",
        not_offered=("dimensions",),
    ),
    "gan": Preset(
        about="a GAN of dense networks over pictures, as the paper's on MNIST",
        shape=GANConfig(),
        training=replace(_PICTURES, steps=15_000),
        run=train_on_pictures,
        data=DATA,
        minutes=3.0,
        expected="FID 73.1 in the features of cnn, on mnist",
        not_offered=SHAPE,
    ),
    "dcgan": Preset(
        about="DCGAN: a GAN of convolutional networks (Radford et al. 2016)",
        shape=DCGANConfig(),
        training=_PICTURES,
        run=train_on_pictures,
        data=DATA,
        minutes=4.6,
        expected="FID 26 to 31 in the features of cnn, on mnist, over three seeds",
        not_offered=SHAPE,
    ),
    "wgan-gp": Preset(
        about="a Wasserstein GAN with gradient penalty (Gulrajani et al. 2017)",
        shape=WGANGPConfig(maps=16),
        # Section 5 has β = (0, 0.9). In bf16 the penalty's second derivatives would keep two digits.
        training=replace(_PICTURES, steps=2_000, batch_size=5 * 32, beta1=0.0, beta2=0.9, precision="fp32"),
        run=train_on_pictures,
        data=DATA,
        minutes=4.0,
        expected="FID 54.5 in the features of cnn, on mnist",
        not_offered=SHAPE,
    ),
}
