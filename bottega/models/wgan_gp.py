"""WGAN with gradient penalty: Gulrajani et al. (2017), "Improved training of Wasserstein GANs", algorithm 1.

A critic D gives any number instead of a probability. The most by which the means of a 1-Lipschitz critic over
data and samples can differ is their Wasserstein-1 distance, which the generator shortens. That the critic is
1-Lipschitz is asked for by a penalty on the norm of its gradient between data and samples (equation 3):

    E_z D(G(z)) - E_x D(x) + λ E_x̂ (‖∇ D(x̂)‖₂ - 1)²,   x̂ = ε x + (1 - ε) G(z),  ε ~ U[0, 1]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.dcgan import Discriminator, Generator, check_size, init_weights
from bottega.models.folders import read_model, write_model
from bottega.models.gan import Batch, Optimizes, check_counts, drawn, judging, made
from bottega.nn.batch_norm import BatchNorm
from bottega.nn.loss import Loss
from bottega.nn.picture_networks import check_pictures


@dataclass(frozen=True)
class WGANGPConfig:
    """A WGAN-GP with DCGAN's networks; the critic has no batch norm, which would tie its inputs together.

    Raises InputError where a value makes no sense.
    """

    channels: int = 1
    height: int = 28
    width: int = 28
    latent: int = 100
    """Numbers of noise, each from N(0, 1)."""
    maps: int = 32
    """Feature maps next to the picture; each layer away from it doubles them."""
    n_critic: int = 5
    """Updates of the critic for each of the generator; batch_size is so many minibatches."""
    penalty: float = 10.0
    """The weight λ of the gradient penalty."""

    def __post_init__(self) -> None:
        check_counts(self, "channels", "height", "width", "latent", "maps", "n_critic")
        check_size(self.height, self.width)
        if not self.penalty >= 0:
            raise InputError(f"penalty must be 0 or more, not {self.penalty}")


class WGANGP(nn.Module):
    """Generator and critic over batches of {"pictures": (rows, channels, height, width)} in [0, 1]."""

    MODEL_TYPE = "bottega-wgan-gp"

    def __init__(self, config: WGANGPConfig) -> None:
        super().__init__()
        self.config = c = config
        self.generator = Generator(c.latent, c.maps, self.picture_shape, BatchNorm)
        self.critic = Discriminator(c.maps, self.picture_shape, lambda _maps: nn.Identity())
        self.generator.apply(init_weights)

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.config.channels, self.config.height, self.config.width

    def noise(self, n: int) -> Float[Tensor, "n latent"]:
        """z ~ N(0, I)."""
        return torch.randn(n, self.config.latent, device=next(self.parameters()).device)

    def step(self, batch: Batch, ctx: Optimizes) -> Loss:
        """n_critic updates of the critic, a minibatch each, then one of the generator.

        Returns the critic's loss on the last of them; its metrics are `distance`, the estimate of the
        Wasserstein distance, and `penalty`. Raises InputError where the pictures are of another shape, or the
        rows do not divide by n_critic.
        """
        real = 2 * check_pictures(batch["pictures"], self.picture_shape) - 1
        if len(real) % self.config.n_critic:
            raise InputError(
                f"a batch of {len(real)} rows cannot be cut into n_critic = {self.config.n_critic} "
                "minibatches; make batch_size a multiple of n_critic"
            )
        for minibatch in real.chunk(self.config.n_critic):
            loss = ctx.optimize("critic", self.widen, {"real": minibatch})
        ctx.optimize("generator", self.shorten, {"real": minibatch})
        return loss

    def widen(self, batch: Batch) -> Loss:
        """What the critic descends: minus the distance that it sees, and the penalty (equation 3)."""
        real = batch["real"]
        fake = self.generator(self.noise(len(real))).to(real.dtype)
        distance = self.critic(real).float() - self.critic(fake).float()
        penalty = self.config.penalty * gradient_penalty(self.critic, real, fake)
        metrics = {"distance": distance.sum().detach(), "penalty": penalty.sum().detach()}
        return Loss((penalty - distance).sum(), torch.tensor(len(real)), metrics)

    def shorten(self, batch: Batch) -> Loss:
        """What the generator descends: -D(G(z))."""
        n = len(batch["real"])
        return Loss(-self.critic(self.generator(self.noise(n))).float().sum(), torch.tensor(n))

    def sample(self, n: int, seed: int = 0) -> Float[Tensor, "n channels height width"]:
        """Pictures in [0, 1]; the same seed gives the same."""
        return (made(self.generator, drawn(n, self.config.latent, seed)) + 1) / 2

    def criticise(self, pictures: Float[Tensor, "n channels height width"]) -> Float[Tensor, " n"]:
        """What the critic gives each picture; only differences mean anything."""
        with judging(self.critic):
            return self.critic(2 * check_pictures(pictures, self.picture_shape) - 1).float()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors."""
        write_model(folder, self.MODEL_TYPE, self.config, self.state_dict())

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> WGANGP:
        """Load a folder; InputError where it is damaged or holds another kind of model."""
        return read_model(folder, cls.MODEL_TYPE, WGANGPConfig, cls)


def gradient_penalty(
    critic: nn.Module, real: Float[Tensor, "n ..."], fake: Float[Tensor, "n ..."]
) -> Float[Tensor, " n"]:
    """(‖∇ critic(x̂)‖₂ - 1)² of each row, at a point x̂ between a real and a made one, drawn evenly."""
    epsilon = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device, dtype=real.dtype)
    between = (epsilon * real + (1 - epsilon) * fake).requires_grad_()
    [gradient] = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.float().flatten(1).norm(dim=1) - 1) ** 2
