"""Autoencoders: a picture through a narrow code and back (Rumelhart, Hinton & Williams 1986).

With hidden layers the code is a non-linear map of the picture (Hinton & Salakhutdinov 2006); without any it
spans the subspace of the principal components (Baldi & Hornik 1989). The denoising ones are shown spoilt
pictures and asked for the clean ones (Vincent, Larochelle, Bengio & Manzagol 2008).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.folders import read_model, write_model
from bottega.nn.loss import Loss
from bottega.nn.picture_networks import Kind, PictureShape, check_pictures, decoder, encoder, first_filters

MODEL_TYPE = "bottega-autoencoder"


@dataclass(frozen=True)
class AutoencoderConfig:
    """The shape of an autoencoder, and what spoils its pictures. InputError for values that make no sense."""

    channels: int = 1
    height: int = 28
    width: int = 28
    latent: int = 32
    """Numbers in a code."""
    network: Kind = "dense"
    hidden: int = 500
    """Units of a hidden layer; of a convolutional network the filters of its first layer."""
    n_layer: int = 2
    """Hidden layers of a dense network; with none it is linear."""
    error: Literal["cross_entropy", "squared"] = "cross_entropy"
    """cross_entropy: of each pixel's grey value as a probability, the output through a sigmoid; squared: half
    the squared distance, the output any number."""
    noise: Literal["none", "masking", "gaussian"] = "none"
    """masking: pixels are set to 0; gaussian: N(0, level²) is added, within [0, 1]. In training only."""
    level: int | float = 0.3
    """Share of the pixels that masking takes; standard deviation of the Gaussian."""

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "latent", "hidden"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.n_layer < 0:
            raise InputError(f"n_layer must be 0 or more, not {self.n_layer}")
        most = 1.0 if self.noise == "masking" else math.inf
        if not 0 <= self.level < most:
            raise InputError(f"level must be 0 or more and below {most:g}, not {self.level}")

    @property
    def shape(self) -> PictureShape:
        """Channels, height and width."""
        return self.channels, self.height, self.width


class Autoencoder(nn.Module):
    """An encoder and a decoder, trained to give back what they were given; called on pictures it does."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        sizes = config.hidden, config.n_layer
        self.encoder = encoder(config.network, config.shape, config.latent, *sizes)
        self.decoder = decoder(config.network, config.shape, config.latent, *sizes)

    @property
    def picture_shape(self) -> PictureShape:
        """Channels, height and width."""
        return self.config.shape

    def forward(
        self, pictures: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n channels height width"]:
        """The decoder's output, in fp32: logits of the pixels, or with the squared error the pixels."""
        code = self.encoder(pictures.to(next(self.parameters()).dtype))
        return self.decoder(code).float()

    def spoilt(
        self, pictures: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n channels height width"]:
        """The pictures with the noise of the configuration (Vincent et al. 2008, section 2.3)."""
        if self.config.noise == "masking":
            return pictures * (torch.rand_like(pictures) >= self.config.level)
        if self.config.noise == "gaussian":
            return (pictures + self.config.level * torch.randn_like(pictures)).clamp(0, 1)
        return pictures

    def loss(self, batch: Mapping[str, Tensor]) -> Loss:
        """The error of the reconstruction, a picture: nats of cross-entropy, or half the squared distance.

        `batch`: pictures (batch × channels × height × width in [0, 1]). In training they are spoilt on their
        way in, and the clean ones are asked for. `squared` is the squared distance whatever is minimised.
        """
        clean = batch["pictures"]
        output = self(self.spoilt(clean) if self.training else clean)
        squared = (self._pixels(output.detach()) - clean).square().sum()
        if self.config.error == "cross_entropy":
            total = F.binary_cross_entropy_with_logits(output, clean, reduction="sum")
        else:
            total = 0.5 * (output - clean).square().sum()
        return Loss(total, torch.tensor(len(clean), device=clean.device), {"squared": squared})

    @torch.no_grad()
    def encode(self, pictures: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n latent"]:
        """The code of each picture."""
        first = next(self.parameters())
        checked = check_pictures(pictures, self.config.shape, "the autoencoder")
        return self.encoder(checked.to(first)).float()

    @torch.no_grad()
    def decode(self, codes: Float[Tensor, "n latent"]) -> Float[Tensor, "n channels height width"]:
        """The picture of each code, in [0, 1]."""
        if codes.dim() != 2 or codes.shape[1] != self.config.latent:
            wanted, found = f"n × {self.config.latent}", " × ".join(map(str, codes.shape))
            raise InputError(f"the codes must be {wanted}, not {found}")
        return self._pixels(self.decoder(codes.to(next(self.parameters()))).float()).clamp(0, 1)

    def reconstruct(
        self, pictures: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n channels height width"]:
        """Each picture as its code draws it; a denoising autoencoder takes noise out."""
        return self.decode(self.encode(pictures))

    def interpolate(
        self, a: Float[Tensor, "channels height width"], b: Float[Tensor, "channels height width"], n: int
    ) -> Float[Tensor, "n channels height width"]:
        """`n` pictures on the straight line from the code of `a` to that of `b`, both of these included."""
        start, end = self.encode(torch.stack([a, b]))
        return self.decode(torch.lerp(start, end, torch.linspace(0, 1, n, device=start.device)[:, None]))

    def features(self) -> Float[Tensor, "n filter_channels filter_height filter_width"]:
        """What the units of the encoder's first layer look at, any range."""
        return first_filters(self.encoder, self.config.shape)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and the weights; WorkError where the disk cannot take them."""
        write_model(folder, MODEL_TYPE, self.config, self.state_dict())

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Autoencoder:
        """Read what `save_pretrained` wrote; InputError where it is damaged or holds something else."""
        return read_model(path, MODEL_TYPE, AutoencoderConfig, cls)

    def _pixels(self, output: Tensor) -> Tensor:
        return output.sigmoid() if self.config.error == "cross_entropy" else output
