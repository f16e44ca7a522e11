"""Generative adversarial nets: Goodfellow et al. (2014), with dense networks over pictures.

A generator G turns noise into samples, and a discriminator D says with which probability a sample is real.
They play (equation 1)

    min_G max_D  V(D, G) = E_x log D(x) + E_z log(1 - D(G(z)))

For a fixed G the best discriminator is D*(x) = p_data(x) / (p_data(x) + p_g(x)) (proposition 1); where G has
won, p_g is p_data, D is ½ everywhere, and V is -log 4 (theorem 1). Nothing here is a likelihood: a GAN can be
sampled, and has no `score`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.folders import read_model, write_model
from bottega.nn.batch_norm import BatchNorm
from bottega.nn.loss import Loss
from bottega.nn.picture_networks import check_pictures

Batch = Mapping[str, Tensor]
CHUNK = 500  # samples made at a time, which bounds the memory


@runtime_checkable
class Optimizes(Protocol):
    """What a training loop gives to `step`."""

    def optimize(self, name: str, closure: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Update the submodule `name` once, down the gradient of what `closure(batch)` returns."""
        ...


@runtime_checkable
class Players(Protocol):
    """A generator, the discriminator that it plays against, and the noise that it starts from."""

    @property
    def generator(self) -> nn.Module:
        """G, from noise to samples."""
        ...

    @property
    def discriminator(self) -> nn.Module:
        """D, from data or samples to logits."""
        ...

    def noise(self, n: int) -> Tensor:
        """Draw z for n samples."""
        ...


# Algorithm 1


def algorithm_1(
    model: Players, real: Float[Tensor, "rows ..."], ctx: Optimizes, k: int, saturating: bool
) -> Loss:
    """One iteration of the paper's algorithm 1: k updates of D, a minibatch each, then one update of G.

    `real` holds the k minibatches one after another. Returns D's loss on the last of them in nats a sample,
    -V(D, G), which is log 4 where G has won. Its metrics: `generator`, the loss of G; `real` and `fake`, what
    D says of the data and of the samples; `accuracy`, how often it is right about either.
    Raises InputError where the rows do not divide by k.
    """
    if len(real) % k:
        raise InputError(f"a batch of {len(real)} rows cannot be cut into k = {k} minibatches; "
                         "make batch_size a multiple of k")  # fmt: skip
    for minibatch in real.chunk(k):
        d = ctx.optimize("discriminator", partial(tell_apart, model), {"real": minibatch})
    g = ctx.optimize("generator", partial(fool, model, saturating), {"real": minibatch})
    return Loss(d.total, d.count, {"generator": g.total, **d.metrics})


def tell_apart(model: Players, batch: Batch) -> Loss:
    """What D descends: -[log D(x) + log(1 - D(G(z)))], for as many samples as there are rows.

    D gives logits l, so that log D = -softplus(-l) and log(1 - D) = -softplus(l), without rounding to 0.
    """
    real = batch["real"]
    fake = model.generator(model.noise(len(real)))  # carries no gradient: only D is free now
    of_real, of_fake = model.discriminator(real).float(), model.discriminator(fake).float()
    total = F.softplus(-of_real).sum() + F.softplus(of_fake).sum()
    right = (of_real > 0).sum() + (of_fake < 0).sum()
    metrics = {"real": of_real.sigmoid().sum(), "fake": of_fake.sigmoid().sum(), "accuracy": right / 2}
    return Loss(total, torch.tensor(len(real)), {name: value.detach() for name, value in metrics.items()})


def fool(model: Players, saturating: bool, batch: Batch) -> Loss:
    """What G descends, for as many samples as there are rows.

    Saturating: log(1 - D(G(z))), the game of equation 1. Otherwise -log D(G(z)), which has the same fixed
    point but a gradient also where D is sure of itself (section 3).
    """
    n = len(batch["real"])
    verdict = model.discriminator(model.generator(model.noise(n))).float()
    total = -F.softplus(verdict).sum() if saturating else F.softplus(-verdict).sum()
    return Loss(total, torch.tensor(n))


# The networks


class Dense(nn.Module):
    """Linear layers with leaky rectifiers between them; each has batch norm before it, if asked, and dropout
    behind it."""

    def __init__(self, sizes: list[int], dropout: int | float = 0.0, norm: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        self.norms = nn.ModuleList(BatchNorm(size) if norm else nn.Identity() for size in sizes[1:-1])
        self.dropout = dropout

    def forward(self, x: Float[Tensor, "n before"]) -> Float[Tensor, "n after"]:
        """What the last layer gives, before any squashing."""
        x = x.to(next(self.parameters()).dtype)
        *hidden, last = self.layers
        for layer, norm in zip(hidden, self.norms, strict=True):
            x = F.dropout(F.leaky_relu(norm(layer(x)), 0.2), self.dropout, self.training)
        return last(x)


class Generator(nn.Module):
    """From noise to pictures in [-1, 1].

    The paper's has a sigmoid and no batch norm; so made, it soon drew one and the same stroke here.
    """

    def __init__(self, latent: int, hidden: int, n_layer: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape
        self.network = Dense([latent, *[hidden] * n_layer, shape[0] * shape[1] * shape[2]], norm=True)

    def forward(self, z: Float[Tensor, "n latent"]) -> Float[Tensor, "n channels height width"]:
        """One picture for each z."""
        return self.network(z).tanh().view(-1, *self.shape)


class Discriminator(nn.Module):
    """From points or pictures of `size` numbers to the logit of being real."""

    def __init__(self, size: int, hidden: int, n_layer: int, dropout: int | float) -> None:
        super().__init__()
        self.network = Dense([size, *[hidden] * n_layer, 1], dropout)

    def forward(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """log D - log(1 - D) of each."""
        return self.network(x.flatten(1)).squeeze(1)


# The model


@dataclass(frozen=True)
class GANConfig:
    """A GAN over pictures with dense networks, as the paper's on MNIST.

    Raises InputError where a value makes no sense.
    """

    channels: int = 1
    height: int = 28
    width: int = 28
    latent: int = 100
    """Numbers of noise, each from N(0, 1)."""
    hidden: int = 512
    """Units of each hidden layer."""
    n_layer: int = 2
    """Hidden layers of each network."""
    dropout: float = 0.3
    """Share of the discriminator's hidden units that are dropped at a time."""
    k: int = 1
    """Updates of the discriminator for each of the generator; batch_size is k minibatches."""
    saturating: bool = False
    """Whether the generator descends log(1 - D) rather than -log D."""

    def __post_init__(self) -> None:
        check_counts(self, "channels", "height", "width", "latent", "hidden", "n_layer", "k")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be at least 0 and below 1, not {self.dropout}")


class PictureGAN(nn.Module):
    """A generator and a discriminator at play over batches of {"pictures": (rows, channels, height, width)}
    in [0, 1]; between the two they are in [-1, 1]. Who inherits names the two networks."""

    MODEL_TYPE: ClassVar[str]
    generator: nn.Module
    discriminator: nn.Module

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.config.channels, self.config.height, self.config.width

    def noise(self, n: int) -> Float[Tensor, "n latent"]:
        """z ~ N(0, I)."""
        return torch.randn(n, self.config.latent, device=next(self.parameters()).device)

    def step(self, batch: Batch, ctx: Optimizes) -> Loss:
        """One iteration of algorithm 1; raises InputError where the pictures are not of the model's shape."""
        pictures = 2 * check_pictures(batch["pictures"], self.picture_shape) - 1
        return algorithm_1(self, pictures, ctx, self.config.k, self.config.saturating)

    def sample(self, n: int, seed: int = 0) -> Float[Tensor, "n channels height width"]:
        """Pictures in [0, 1]; the same seed gives the same."""
        return (made(self.generator, drawn(n, self.config.latent, seed)) + 1) / 2

    def realness(self, pictures: Float[Tensor, "n channels height width"]) -> Float[Tensor, " n"]:
        """D(x): with which probability each picture is real."""
        with judging(self.discriminator):
            pictures = 2 * check_pictures(pictures, self.picture_shape) - 1
            return self.discriminator(pictures).float().sigmoid()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors."""
        write_model(folder, self.MODEL_TYPE, self.config, self.state_dict())


class GAN(PictureGAN):
    """Two dense networks."""

    MODEL_TYPE = "bottega-gan"

    def __init__(self, config: GANConfig) -> None:
        super().__init__(config)
        c, size = config, config.channels * config.height * config.width
        self.generator = Generator(c.latent, c.hidden, c.n_layer, self.picture_shape)
        self.discriminator = Discriminator(size, c.hidden, c.n_layer, c.dropout)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> GAN:
        """Load a folder; InputError where it is damaged or holds another kind of model."""
        return read_model(folder, cls.MODEL_TYPE, GANConfig, cls)


# What every adversarial model asks


def check_counts(config: Any, *names: str) -> None:
    """Raise InputError where one of the named fields is not 1 or more."""
    for name in names:
        if getattr(config, name) < 1:
            raise InputError(f"{name} must be 1 or more, not {getattr(config, name)}")


def drawn(n: int, latent: int, seed: int) -> Float[Tensor, "n latent"]:
    """z ~ N(0, I) for n samples, the same for the same seed; InputError for less than one."""
    if n < 1:
        raise InputError(f"{n} samples asked for; expected 1 or more")
    return torch.randn(n, latent, generator=torch.Generator().manual_seed(seed))


def made(generator: nn.Module, z: Float[Tensor, "n latent"]) -> Float[Tensor, "n ..."]:
    """What the generator makes of z, in fp32, a chunk at a time."""
    device = next(generator.parameters()).device
    with judging(generator):
        return torch.cat([generator(part.to(device)).float() for part in torch.split(z, CHUNK)])


@contextmanager
def judging(network: nn.Module) -> Iterator[None]:
    """Use a network as it is after training: without dropout, with running statistics, without gradients."""
    before = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(before)
