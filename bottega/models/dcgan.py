"""DCGAN: Radford, Metz and Chintala (2016), "Unsupervised representation learning with deep convolutional
generative adversarial networks".

The game is Goodfellow's; the networks are convolutional, by the paper's guidelines (section 3): strides in
place of pooling, batch norm everywhere but in the generator's last layer and the discriminator's first, no
hidden dense layers, ReLU in the generator with a tanh behind it, leaky ReLU in the discriminator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.folders import read_model
from bottega.models.gan import PictureGAN, check_counts
from bottega.nn.batch_norm import BatchNorm

SMALLEST = 4  # pixels a side at which the generator begins, as the paper's figure 1 (64 = 4 · 2⁴)
KERNEL = 5  # with padding 2 and stride 2 it halves every size, rounding up


@dataclass(frozen=True)
class DCGANConfig:
    """A DCGAN for pictures of any size from 5 pixels on: each layer halves it until it is 4 or less.

    Raises InputError where a value makes no sense.
    """

    channels: int = 1
    height: int = 28
    width: int = 28
    latent: int = 100
    """Numbers of noise, each from N(0, 1)."""
    maps: int = 32
    """Feature maps next to the picture; each layer away from it doubles them."""
    k: int = 1
    """Updates of the discriminator for each of the generator; batch_size is k minibatches."""
    saturating: bool = False
    """Whether the generator descends log(1 - D) rather than -log D."""

    def __post_init__(self) -> None:
        check_counts(self, "channels", "height", "width", "latent", "maps", "k")
        check_size(self.height, self.width)


class Generator(nn.Module):
    """Noise, projected onto small maps, which fractionally-strided convolutions enlarge to a picture.

    `norm` makes what stands behind each layer but the last, from its number of maps.
    """

    def __init__(
        self, latent: int, maps: int, shape: tuple[int, int, int], norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        sizes = halved(*shape[1:])[::-1]
        widths = [maps * 2**i for i in range(len(sizes) - 1)][::-1]
        self.start = (widths[0], *sizes[0])
        self.project = nn.Linear(latent, widths[0] * sizes[0][0] * sizes[0][1])
        self.norms = nn.ModuleList(norm(width) for width in widths)
        self.layers = nn.ModuleList()
        for (before, after), (height, width) in zip(pairwise([*widths, shape[0]]), sizes[1:], strict=True):
            # Of the two sizes that stride 2 takes to the same one, output_padding chooses ours.
            even = (1 - height % 2, 1 - width % 2)
            self.layers.append(nn.ConvTranspose2d(before, after, KERNEL, 2, KERNEL // 2, output_padding=even))

    def forward(self, z: Float[Tensor, "n latent"]) -> Float[Tensor, "n channels height width"]:
        """One picture for each z, in [-1, 1]."""
        x = self.project(z.to(self.project.weight.dtype)).view(-1, *self.start)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = layer(F.relu(norm(x)))
        return x.tanh()


class Discriminator(nn.Module):
    """Strided convolutions from a picture in [-1, 1] to one number, the logit of being real.

    `norm` makes what stands behind each layer but the first, from its number of maps.
    """

    def __init__(self, maps: int, shape: tuple[int, int, int], norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        sizes = halved(*shape[1:])
        widths = [maps * 2**i for i in range(len(sizes) - 1)]
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, KERNEL, 2, KERNEL // 2)
            for before, after in pairwise([shape[0], *widths])
        )
        self.norms = nn.ModuleList([nn.Identity(), *[norm(width) for width in widths[1:]]])
        self.judge = nn.Linear(widths[-1] * sizes[-1][0] * sizes[-1][1], 1)

    def forward(self, x: Float[Tensor, "n channels height width"]) -> Float[Tensor, " n"]:
        """log D - log(1 - D) of each."""
        x = x.to(self.judge.weight.dtype)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = F.leaky_relu(norm(layer(x)), 0.2)
        return self.judge(x.flatten(1)).squeeze(1)


class DCGAN(PictureGAN):
    """The game between these two networks."""

    MODEL_TYPE = "bottega-dcgan"

    def __init__(self, config: DCGANConfig) -> None:
        super().__init__(config)
        self.generator = Generator(config.latent, config.maps, self.picture_shape, BatchNorm)
        self.discriminator = Discriminator(config.maps, self.picture_shape, BatchNorm)
        self.apply(init_weights)

    def features(self) -> Float[Tensor, "maps channels height width"]:
        """The filters of the discriminator's first layer."""
        first = self.discriminator.get_submodule("layers.0")
        assert isinstance(first, nn.Conv2d)
        return first.weight.detach()

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> DCGAN:
        """Load a folder; InputError where it is damaged or holds another kind of model."""
        return read_model(folder, cls.MODEL_TYPE, DCGANConfig, cls)


def init_weights(module: nn.Module) -> None:
    """Weights from N(0, 0.02), as section 4 says; scales of batch norm around 1; biases 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, BatchNorm):
        nn.init.normal_(module.weight, 1.0, 0.02)
    if isinstance(getattr(module, "bias", None), Tensor):
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def halved(height: int, width: int) -> list[tuple[int, int]]:
    """Height and width at each layer, from the picture's own to at most 4 a side."""
    sizes = [(height, width)]
    while max(sizes[-1]) > SMALLEST:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


def check_size(height: int, width: int) -> None:
    """Raise InputError where pictures are too small for a strided convolution."""
    if max(height, width) <= SMALLEST:
        raise InputError(
            f"pictures of {height}×{width} leave nothing to convolve; "
            f"expected a side of {SMALLEST + 1} or more"
        )
