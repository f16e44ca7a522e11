"""The presets of the restricted Boltzmann machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bottega.data.picture_batches import PictureBatches
from bottega.data.pictures import Pictures, open_pictures
from bottega.evaluation.pictures import binary as zeros_and_ones
from bottega.models.rbm import RBM, RBMConfig
from bottega.recipes.pictures import DATA, SHAPE, PictureTraining, train_pictures
from bottega.recipes.preset import Preset
from bottega.training.events import Listener
from bottega.training.validation import Validation

WATCHED = 500  # pictures of either kind that are looked at while it learns


def train_rbm(
    shape: RBMConfig,
    data: tuple[str, ...],
    out: Path,
    training: PictureTraining,
    on_event: Listener | None,
) -> str:
    """Train an RBM of this shape and find the mean log p of the held-out pictures.

    Grey pixels are drawn as 0 or 1 anew whenever they are shown, where the pixels are Bernoulli. Raises what
    `open_pictures` and `train` raise.
    """
    taught, _ = open_pictures(data, training.size, training.grey)
    mean, binary = torch.from_numpy(taught.floats().mean(0)), shape.visible == "bernoulli"

    def make(shape: RBMConfig) -> RBM:
        rbm = RBM(replace(shape, n_chains=training.batch_size))
        rbm.begin_from(mean)
        return rbm

    seen = as_seen(taught.where(np.arange(min(WATCHED, len(taught)))), binary)
    trained = train_pictures(
        make, shape, data, out, training, on_event, binary=binary, validation=watching(seen)
    )
    if not len(trained.held_out):
        return f"{trained.line}; no pictures were held out to be scored"
    found = trained.model.eval().score(as_seen(trained.held_out, binary))
    error = f" ± {found.error:.2f}" if found.error else ""
    return f"{trained.line}\nheld-out log p: {found.mean:.2f}{error} nats a picture ({found.kind})"


def as_seen(pictures: Pictures, binary: bool) -> Tensor:
    """Every picture once, (n, channels, height, width), the binary ones always by the same draw."""
    return zeros_and_ones(pictures) if binary else torch.from_numpy(pictures.floats())


def watching(seen: Tensor) -> Callable[[PictureBatches], Validation]:
    """What says how a machine comes on: values that need no Z, of some held-out pictures.

    `loss` is minus the pseudo-likelihood or, where pixels are Gaussian, minus log p of a picture given its
    own hidden units, up to a constant; `reconstruction` the mean square error of a pixel. `gap` is by how
    much the free energy of the held-out pictures lies above that of the `seen` ones: it grows as the machine
    learns these by heart (Hinton 2010, section 6.1).
    """

    def of(batches: PictureBatches) -> Validation:
        unseen = next(batches.in_order(WATCHED))["pictures"]

        def values(model: nn.Module) -> Mapping[str, float]:
            assert isinstance(model, RBM)
            v, known = (pictures.to(model.weight.device) for pictures in (unseen, seen))
            error = (model.reconstruct(v) - v).square()
            free, of_known = (float(model.free_energy(model.pixels_of(x)).mean()) for x in (v, known))
            loss = (
                -model.pseudo_likelihood(v).mean
                if model.config.visible == "bernoulli"
                else float(error.flatten(1).sum(1).mean()) / (2 * model.config.sigma**2)
            )
            return {"loss": loss, "reconstruction": float(error.mean()), "gap": free - of_known}

        return values

    return of


# The rate falls to zero all the way, for a chain cannot follow weights that run. The decay is strong: what
# chains from the data never see, such as a frame around the digit, deepens with the weights and can take all
# of Z; without it CD-25 ended at -97 nats.
_TRAINING = PictureTraining(
    steps=6_000,
    batch_size=100,
    optimizer="sgd",
    learning_rate=0.02,
    beta1=0.9,
    weight_decay=0.01,
    clip=0.0,
    decay_fraction=1.0,
)
_NOT_OFFERED = (*SHAPE, "n_chains")

PRESETS: dict[str, Preset] = {
    "rbm": Preset(
        about="restricted Boltzmann machine of 500 hidden units, contrastive divergence of one step",
        shape=RBMConfig(),
        training=_TRAINING,
        run=train_rbm,
        data=DATA,
        minutes=0.5,
        expected="log p -22.9 nats a picture by AIS, on the embedded digits",
        not_offered=_NOT_OFFERED,
    ),
    "rbm-cd25": Preset(
        about="the same by 25 steps, after Salakhutdinov & Murray (2008)",
        shape=RBMConfig(k=25),
        training=replace(_TRAINING, steps=24_000),
        run=train_rbm,
        data=DATA,
        minutes=10.0,
        expected="log p -86.4 nats a picture by AIS, on mnist, over three seeds",
        not_offered=_NOT_OFFERED,
    ),
    "rbm-pcd": Preset(
        about="the same with persistent chains (Tieleman 2008)",
        shape=RBMConfig(persistent=True),
        training=replace(_TRAINING, steps=24_000, learning_rate=0.01, weight_decay=0.001),
        minutes=2.5,
        expected="log p -95.5 and -98.1 nats a picture by AIS, on mnist, of two seeds",
        run=train_rbm,
        data=DATA,
        not_offered=_NOT_OFFERED,
    ),
    "rbm-gaussian": Preset(
        about="an RBM of grey pixels, Gaussian given the hidden units",
        shape=RBMConfig(visible="gaussian"),
        training=replace(_TRAINING, learning_rate=0.002),
        run=train_rbm,
        data=DATA,
        minutes=0.5,
        expected="log p 2.5 nats a picture as a density, on the embedded digits",
        not_offered=_NOT_OFFERED,
    ),
}
