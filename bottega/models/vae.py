"""The variational autoencoder (Kingma & Welling 2014; Rezende, Mohamed & Wierstra 2014).

Equation numbers without a name are those of "Auto-Encoding Variational Bayes". A picture x is drawn by a
decoder p(x|z) from a code z ~ N(0, 1); an encoder q(z|x) = N(μ, σ²) guesses the code of a picture. Both learn
by one bound: log p(x) ≥ E_q[log p(x|z)] - KL(q(z|x) ‖ p(z)).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.abilities import LogLikelihood
from bottega.models.folders import read_model, write_model
from bottega.nn.loss import Loss
from bottega.nn.picture_networks import Kind, PictureShape, check_pictures, decoder, encoder, first_filters

MODEL_TYPE = "bottega-vae"
SAMPLES = 5000  # of a code for log p(x) by importance, as Burda et al. took
ROWS = 1000  # codes decoded at a time: larger pieces would be asked of the system anew each time
LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class VAEConfig:
    """The shape of a VAE, and the weight β of its KL. Raises InputError for values that make no sense."""

    channels: int = 1
    height: int = 28
    width: int = 28
    latent: int = 50
    """Numbers in a code."""
    network: Kind = "dense"
    hidden: int = 500
    """Units of a hidden layer; of a convolutional network the filters of its first layer."""
    n_layer: int = 2
    """Hidden layers of a dense network."""
    decoder: Literal["bernoulli", "gaussian"] = "bernoulli"
    """bernoulli: each pixel is 0 or 1 (or a grey between, as its probability); gaussian: any number around
    the decoder's, with one deviation for all pixels, which is learnt."""
    beta: int | float = 1.0
    """Of β-VAE (Higgins et al. 2017, eq. 4); 1 is the VAE."""

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "latent", "hidden"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.n_layer < 0:
            raise InputError(f"n_layer must be 0 or more, not {self.n_layer}")
        if not 0 <= self.beta < math.inf:
            raise InputError(f"beta must be 0 or more, not {self.beta}")

    @property
    def shape(self) -> PictureShape:
        """Channels, height and width."""
        return self.channels, self.height, self.width


def reparametrised(
    mean: Float[Tensor, "*#n latent"],
    log_variance: Float[Tensor, "*#n latent"],
    noise: Float[Tensor, "*n latent"],
) -> Float[Tensor, "*n latent"]:
    """z = μ + σ ⊙ ε with ε ~ N(0, 1): the draw as a function whose gradient reaches μ and σ (section 2.4)."""
    return mean + (0.5 * log_variance).exp() * noise


def kl_to_normal(
    mean: Float[Tensor, "*n latent"], log_variance: Float[Tensor, "*n latent"]
) -> Float[Tensor, "*n"]:
    """KL(N(μ, σ²) ‖ N(0, 1)) in nats = ½ Σ (μ² + σ² - 1 - log σ²) (appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)


def log_normal(
    x: Float[Tensor, "*#n width"], mean: Float[Tensor, "*n width"], log_sigma: Float[Tensor, "*#n #width"]
) -> Float[Tensor, "*n"]:
    """Log N(x; μ, σ²) in nats, summed over the width."""
    return -(0.5 * ((x - mean) * (-log_sigma).exp()).square() + log_sigma + 0.5 * LOG_2PI).sum(-1)


def log_bernoulli(x: Float[Tensor, "*#n width"], logits: Float[Tensor, "*n width"]) -> Float[Tensor, "*n"]:
    """Log Π pˣ (1 - p)¹⁻ˣ in nats with p = sigmoid(logits); x may be any number from 0 to 1."""
    # log(1 + eˡ) written out: torch's softplus takes twice as long on a CPU.
    softplus = logits.clamp(min=0) + torch.log1p(torch.exp(-logits.abs()))
    return (x * logits - softplus).sum(-1)


class VAE(nn.Module):
    """Encoder q(z|x) and decoder p(x|z), in nats throughout."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        sizes = config.hidden, config.n_layer
        self.encoder = encoder(config.network, config.shape, 2 * config.latent, *sizes)
        self.decoder = decoder(config.network, config.shape, config.latent, *sizes)
        if config.decoder == "gaussian":
            self.log_sigma = nn.Parameter(torch.tensor(-1.0))  # near the deviation of the pixels themselves

    @property
    def picture_shape(self) -> PictureShape:
        """Channels, height and width."""
        return self.config.shape

    @property
    def scores_density(self) -> bool:
        """Log p is of grey values where the decoder is Gaussian."""
        return self.config.decoder == "gaussian"

    def posterior(
        self, pictures: Float[Tensor, "n channels height width"]
    ) -> tuple[Float[Tensor, "n latent"], Float[Tensor, "n latent"]]:
        """μ and log σ² of q(z|x) (eq. 9), in fp32."""
        mean, log_variance = self.encoder(pictures.to(self._dtype)).float().chunk(2, -1)
        return mean, log_variance

    def log_likelihood(
        self, pictures: Float[Tensor, "*#n channels height width"], codes: Float[Tensor, "*n latent"]
    ) -> Float[Tensor, "*n"]:
        """Log p(x|z) of each picture with its code, in fp32 (appendix C)."""
        output = self.decoder(codes.flatten(0, -2).to(self._dtype)).float().view(*codes.shape[:-1], -1)
        if self.config.decoder == "bernoulli":
            return log_bernoulli(pictures.flatten(-3), output)
        return log_normal(pictures.flatten(-3), output, self.log_sigma.float()[None])

    def loss(self, batch: Mapping[str, Tensor]) -> Loss:
        """The negative bound (eq. 10, one draw of z a picture), with the KL times β, in nats a picture.

        `batch`: pictures (batch × channels × height × width in [0, 1]).
        """
        pictures = batch["pictures"]
        mean, log_variance = self.posterior(pictures)
        codes = reparametrised(mean, log_variance, torch.randn_like(mean))
        reconstruction = -self.log_likelihood(pictures, codes).sum()
        kl = kl_to_normal(mean, log_variance).sum()
        count = torch.tensor(len(pictures), device=pictures.device)
        metrics = {"reconstruction": reconstruction.detach(), "kl": kl.detach()}
        return Loss(reconstruction + self.config.beta * kl, count, metrics)

    @torch.no_grad()
    def encode(self, pictures: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n latent"]:
        """The mean of q(z|x): the code of each picture."""
        return self.posterior(self._checked(pictures))[0]

    @torch.no_grad()
    def decode(self, codes: Float[Tensor, "n latent"]) -> Float[Tensor, "n channels height width"]:
        """The mean of p(x|z): a picture in [0, 1] for each code, without the noise of single pixels."""
        if codes.dim() != 2 or codes.shape[1] != self.config.latent:
            wanted, found = f"n × {self.config.latent}", " × ".join(map(str, codes.shape))
            raise InputError(f"the codes must be {wanted}, not {found}")
        output = self.decoder(codes.to(next(self.parameters()))).float()
        return output.sigmoid() if self.config.decoder == "bernoulli" else output.clamp(0, 1)

    def reconstruct(
        self, pictures: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n channels height width"]:
        """Each picture as its code draws it."""
        return self.decode(self.encode(pictures))

    def sample(self, n: int, seed: int = 0) -> Float[Tensor, "n channels height width"]:
        """The pictures of `n` codes drawn from N(0, 1)."""
        noise = torch.randn(n, self.config.latent, generator=torch.Generator().manual_seed(seed))
        return self.decode(noise)

    def interpolate(
        self, a: Float[Tensor, "channels height width"], b: Float[Tensor, "channels height width"], n: int
    ) -> Float[Tensor, "n channels height width"]:
        """`n` pictures on the straight line from the code of `a` to that of `b`, both of these included."""
        start, end = self.encode(torch.stack([a, b]))
        return self.decode(torch.lerp(start, end, torch.linspace(0, 1, n, device=start.device)[:, None]))

    @torch.no_grad()
    def score(
        self, pictures: Float[Tensor, "n channels height width"], samples: int = SAMPLES, seed: int = 0
    ) -> LogLikelihood:
        """Log p(x) by importance sampling: log 1/k Σ p(x, z) / q(z|x) over k = `samples` codes from q(z|x).

        (Burda, Grosse & Salakhutdinov 2016, eq. 8.) On average below the truth, and the nearer the more
        samples. With a Gaussian decoder it is a density of grey values, else the probability of binary
        pictures. Raises InputError where `pictures` are none of this model's shape.
        """
        nats: list[float] = []
        variances: list[float] = []
        for weights in self._log_weights(pictures, samples, seed):
            nats += (weights.logsumexp(-1) - math.log(samples)).tolist()
            # Var log ŵ ≈ Var w / (k (E w)²): what the share of each draw in the sum tells (the delta method).
            variances += (weights.softmax(-1).square().sum(-1) - 1 / samples).tolist()
        return self._likelihood(nats, variances, "importance")

    @torch.no_grad()
    def elbo(
        self, pictures: Float[Tensor, "n channels height width"], samples: int = 10, seed: int = 0
    ) -> LogLikelihood:
        """The bound itself, E_q[log p(x, z) - log q(z|x)], over `samples` codes a picture (eq. 6).

        It weighs the KL with 1 whatever β is. With the same samples and seed it is never above `score`.
        """
        nats: list[float] = []
        variances: list[float] = []
        for weights in self._log_weights(pictures, samples, seed):
            nats += weights.mean(-1).tolist()
            variances += (weights.var(-1) / samples).tolist()
        return self._likelihood(nats, variances, "elbo")

    def _log_weights(
        self, pictures: Float[Tensor, "n channels height width"], samples: int, seed: int
    ) -> Iterator[Float[Tensor, "rows samples"]]:
        """log p(x, z) - log q(z|x) of `samples` codes a picture, for some pictures at a time.

        Keep numbers of them, no tensors: a small one that stays cuts up the memory that the large ones leave,
        and 10,000 of them once cost 24 GB.
        """
        if samples < 2:  # one draw says nothing of its own error
            raise InputError(f"samples must be at least 2, not {samples}")
        generator = torch.Generator().manual_seed(seed)
        for x in torch.split(self._checked(pictures), max(1, ROWS // samples)):
            mean, log_variance = (of_each[:, None] for of_each in self.posterior(x))
            drawn = torch.randn(len(x), samples, self.config.latent, generator=generator).to(mean.device)
            weights = []
            for noise in torch.split(drawn, ROWS, 1):
                codes = reparametrised(mean, log_variance, noise)
                # log q(z|x) - log p(z): what is left when the two normals' constants cancel.
                excess = 0.5 * (codes.square() - noise.square() - log_variance).sum(-1)
                weights.append(self.log_likelihood(x[:, None], codes) - excess)
            yield torch.cat(weights, 1).double()

    def features(self) -> Float[Tensor, "n filter_channels filter_height filter_width"]:
        """What the units of the encoder's first layer look at, any range."""
        return first_filters(self.encoder, self.config.shape)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and the weights; WorkError where the disk cannot take them."""
        write_model(folder, MODEL_TYPE, self.config, self.state_dict())

    @classmethod
    def from_pretrained(cls, path: str | Path) -> VAE:
        """Read what `save_pretrained` wrote; InputError where it is damaged or holds something else."""
        return read_model(path, MODEL_TYPE, VAEConfig, cls)

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def _checked(self, pictures: Tensor) -> Tensor:
        return check_pictures(pictures, self.config.shape, "the VAE").to(next(self.parameters()).device)

    def _likelihood(
        self, nats: list[float], variances: list[float], kind: Literal["elbo", "importance"]
    ) -> LogLikelihood:
        """Those of all pictures, with the standard error of their mean."""
        error = math.sqrt(sum(variances)) / len(nats)
        return LogLikelihood(np.array(nats), kind, error, density=self.scores_density)
