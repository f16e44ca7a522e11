"""The restricted Boltzmann machine (Smolensky 1986), trained by contrastive divergence (Hinton 2002).

Pixels v and hidden units h share the energy E(v, h); p(v, h) = exp(-E) / Z. No two pixels and no two hidden
units are connected, so either layer given the other is drawn at once. Section numbers are those of Hinton
(2010), "A practical guide to training restricted Boltzmann machines". How Z is found is in `rbm_likelihood`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.abilities import LogLikelihood
from bottega.models.folders import read_model, write_model
from bottega.nn.bernoulli import bernoulli
from bottega.nn.loss import Loss
from bottega.nn.picture_networks import check_pictures

if TYPE_CHECKING:
    from bottega.models.rbm_likelihood import LogPartition

MODEL_TYPE = "bottega-rbm"
SAMPLING_STEPS = 1000  # of Gibbs from noise to a sample
ROWS = 500  # pictures whose hidden units are held at a time


@dataclass(frozen=True)
class RBMConfig:
    """The shape of an RBM and how it learns. Raises InputError for values that make no sense."""

    channels: int = 1
    height: int = 28
    width: int = 28
    n_hidden: int = 500
    visible: Literal["bernoulli", "gaussian"] = "bernoulli"
    """bernoulli: pixels are 0 or 1; gaussian: any number, with the deviation `sigma` around its mean."""
    sigma: int | float = 0.3
    """Of Gaussian pixels given the hidden units, in grey values; Bernoulli pixels have none."""
    k: int = 1
    """Steps of Gibbs between the data and what it is compared with."""
    persistent: bool = False
    """The chains go on from where the last update left them (Tieleman 2008), not from the data."""
    n_chains: int = 100
    """How many such chains."""
    sparsity_target: int | float = 0.1
    """Share of the data for which a hidden unit should be on (section 11)."""
    sparsity_cost: int | float = 0.0
    """Weight of missing it; 0: it does not matter."""

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "n_hidden", "k", "n_chains"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.sigma < math.inf:
            raise InputError(f"sigma must be above 0, not {self.sigma}")
        if not 0 < self.sparsity_target < 1:
            raise InputError(f"sparsity_target must be between 0 and 1, not {self.sparsity_target}")
        if not 0 <= self.sparsity_cost < math.inf:
            raise InputError(f"sparsity_cost must be 0 or more, not {self.sparsity_cost}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.channels, self.height, self.width

    @property
    def pixels(self) -> int:
        """Visible units."""
        return math.prod(self.shape)


class RBM(nn.Module):
    """W (pixels × hidden), biases b of the pixels and c of the hidden units.

    E(v, h) = -b·v - c·h - v·W·h                       Bernoulli pixels
    E(v, h) = |v - b|² / 2σ² - c·h - (v/σ)·W·h         Gaussian pixels (Welling et al. 2005; section 13.2)
    """

    base: Tensor
    chains: Tensor

    def __init__(self, config: RBMConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(0.01 * torch.randn(config.pixels, config.n_hidden))  # section 8
        self.visible_bias = nn.Parameter(torch.zeros(config.pixels))
        self.hidden_bias = nn.Parameter(torch.zeros(config.n_hidden))
        # The biases of the machine without hidden units, from which annealing starts.
        self.register_buffer("base", torch.zeros(config.pixels))
        if config.persistent:
            self.register_buffer("chains", torch.zeros(config.n_chains, config.pixels))

    @torch.no_grad()
    def begin_from(self, mean: Float[Tensor, "channels height width"]) -> None:
        """Set the biases of the pixels so that without weights each has its mean in the data (section 8)."""
        mean = mean.flatten()
        if self.config.visible == "bernoulli":
            mean = mean.clamp(0.005, 0.995).logit()
        self.base.copy_(mean)
        self.visible_bias.copy_(mean)
        if self.config.persistent:
            self.chains.copy_(self.noise(len(self.chains)))

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a picture."""
        return self.config.shape

    @property
    def scores_density(self) -> bool:
        """Log p is of grey values where the pixels are Gaussian."""
        return self.config.visible == "gaussian"

    # The model

    def hidden_input(self, v: Float[Tensor, "n pixels"]) -> Float[Tensor, "n hidden"]:
        """Logits of the hidden units: p(h = 1 | v) = σ(c + v·W), with v/σ for Gaussian pixels."""
        return torch.addmm(self.hidden_bias, v / self._scale if self._scale != 1 else v, self.weight)

    def visible_input(self, h: Float[Tensor, "n hidden"]) -> Float[Tensor, "n pixels"]:
        """b + W·h, the logits of Bernoulli pixels; b + σ W·h, the means of Gaussian ones."""
        if self._scale != 1:
            h = h * self._scale
        return F.linear(h, self.weight, self.visible_bias)

    def visible_energy(
        self, v: Float[Tensor, "n pixels"], bias: Float[Tensor, " pixels"]
    ) -> Float[Tensor, " n"]:
        """The energy of pixels without hidden units: -b·v, or |v - b|² / 2σ²."""
        if self.config.visible == "bernoulli":
            return -(precise(v) @ precise(bias))
        return (precise(v) - precise(bias)).square().sum(-1) / (2 * self._scale**2)

    def free_energy(self, v: Float[Tensor, "n pixels"]) -> Float[Tensor, " n"]:
        """F(v) = -log Σ_h exp(-E(v, h)), in nats: p(v) = exp(-F(v)) / Z."""
        return self._free_energy(v, self.hidden_input(v))

    def _free_energy(self, v: Tensor, hidden_input: Tensor) -> Tensor:
        return self.visible_energy(v, self.visible_bias) - F.softplus(precise(hidden_input)).sum(-1)

    @property
    def _scale(self) -> float:
        return float(self.config.sigma) if self.config.visible == "gaussian" else 1.0

    # Gibbs sampling

    def up_and_down(
        self,
        hidden_input: Float[Tensor, "n hidden"],
        generator: torch.Generator | None = None,
        beta: float = 1.0,
    ) -> Float[Tensor, "n pixels"]:
        """Draw h from its logits and return `visible_input` of it; `draw` then gives v ~ p(v | h).

        With β < 1 of the machine on the way from the biases `base` alone to this one: all of it counts β,
        `base` 1 - β (Salakhutdinov & Murray 2008, eq. 15).
        """
        if beta == 1.0:
            return self.visible_input(bernoulli(hidden_input, generator))
        h = bernoulli(hidden_input * beta, generator)
        return torch.lerp(self.base.to(self.weight.dtype), self.visible_input(h), beta)

    def draw(
        self, visible_input: Float[Tensor, "n pixels"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "n pixels"]:
        """Pixels from their logits, or from their means."""
        if self.config.visible == "bernoulli":
            return bernoulli(visible_input, generator)
        noise = torch.empty_like(visible_input).normal_(generator=generator)
        return visible_input + self._scale * noise

    def noise(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n pixels"]:
        """Pixels of the machine without hidden units: where annealing starts."""
        return self.draw(self.base.to(self.weight.dtype).expand(n, -1), generator)

    @torch.no_grad()
    def gibbs(
        self, v: Float[Tensor, "n pixels"], steps: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n pixels"]:
        """The pixels after so many turns of h ~ p(h | v), v ~ p(v | h)."""
        for _ in range(steps):
            v = self.draw(self.up_and_down(self.hidden_input(v), generator), generator)
        return v

    # Learning

    def loss(self, batch: Mapping[str, Tensor]) -> Loss:
        """F(v) - F(v_k), summed over the batch, with v_k held fixed.

        Its gradient is contrastive divergence: -∂F/∂W is v·p(h | v), so descending the difference moves W by
        ⟨v h⟩ of the data - ⟨v h⟩ of the model, b by ⟨v⟩ - ⟨v⟩ and c by ⟨h⟩ - ⟨h⟩ (Hinton 2002, section 3).
        It is no likelihood, and its value does not say how good the model is. While the model is not
        training, persistent chains stay where they are.

        `batch`: pictures (batch × channels × height × width in [0, 1]).
        """
        v = self.pixels_of(batch["pictures"])
        v_k = self._negative(v)
        both = torch.cat([v, v_k])  # one product, and one backward
        hidden_input = self.hidden_input(both)
        free = self._free_energy(both, hidden_input)
        total = free[: len(v)].sum() - free[len(v) :].sum() * (len(v) / len(v_k))
        if self.config.sparsity_cost:
            total = total + len(v) * self.config.sparsity_cost * self._sparsity(hidden_input[: len(v)])
        return Loss(total, torch.tensor(len(v), device=v.device))

    def _negative(self, v: Tensor) -> Tensor:
        """What the data is compared with: v_k, or the chains after k more steps.

        Chains rest in pixels. Resting in hidden units they would need a product less, but learnt worse
        (docs/notebook.md).
        """
        if not self.config.persistent:
            return self.gibbs(v, self.config.k)
        chains = self.gibbs(self.chains.to(v.dtype), self.config.k)
        if self.training:
            self.chains.copy_(chains)
        return chains

    def _sparsity(self, hidden_input: Tensor) -> Tensor:
        """Cross-entropy of the target and each unit's mean activity q (section 11), summed over the units."""
        target = self.config.sparsity_target
        q = torch.sigmoid(precise(hidden_input)).mean(0).clamp(1e-6, 1 - 1e-6)
        return -(target * q.log() + (1 - target) * torch.log1p(-q)).sum()

    # What it can do

    @torch.no_grad()
    def sample(self, n: int, seed: int = 0) -> Float[Tensor, "n channels height width"]:
        """Pictures drawn by Gibbs sampling from noise, as the means of their pixels.

        Over the first half of 1,000 turns the machine is cooled from its base: a chain that starts cold stays
        near where it started.
        """
        generator = self._generator(seed)
        v = self.noise(n, generator)
        for step in range(SAMPLING_STEPS):
            beta = min(1.0, 2 * (step + 1) / SAMPLING_STEPS)
            visible_input = self.up_and_down(self.hidden_input(v), generator, beta)
            v = self.draw(visible_input, generator)
        return self._means(visible_input)

    @torch.no_grad()
    def chain(
        self, start: Tensor | int, steps: int = 1000, every: int = 100, seed: int = 0
    ) -> Float[Tensor, "kept n channels height width"]:
        """Gibbs chains from pictures, or from so many draws of noise: the start, then each `every` turns.

        After the start, what is kept are the means of the pixels. Raises InputError where nothing would move.
        """
        if steps < 1 or every < 1:
            raise InputError(f"a chain needs at least 1 step and every 1, not {steps} and {every}")
        generator = self._generator(seed)
        v = self.noise(start, generator) if isinstance(start, int) else self.pixels_of(start)
        kept = [self._as_pictures(v)]
        for step in range(1, steps + 1):
            visible_input = self.up_and_down(self.hidden_input(v), generator)
            v = self.draw(visible_input, generator)
            if step % every == 0:
                kept.append(self._means(visible_input))
        return torch.stack(kept)

    @torch.no_grad()
    def encode(self, pictures: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n hidden"]:
        """p(h = 1 | v) of each hidden unit."""
        return torch.sigmoid(precise(self.hidden_input(self.pixels_of(pictures))))

    @torch.no_grad()
    def decode(self, codes: Float[Tensor, "n hidden"]) -> Float[Tensor, "n channels height width"]:
        """The means of the pixels given hidden units, or the probabilities of these."""
        if codes.dim() != 2 or codes.shape[1] != self.config.n_hidden:
            found = " × ".join(map(str, codes.shape))
            raise InputError(f"the codes must be n × {self.config.n_hidden}, not {found}")
        return self._means(self.visible_input(codes.to(self.weight)))

    def reconstruct(
        self, pictures: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n channels height width"]:
        """Up to the hidden units and down again, both by their means."""
        return self.decode(self.encode(pictures))

    def features(self) -> Float[Tensor, "n channels height width"]:
        """The weights of each hidden unit as a picture, any range."""
        return precise(self.weight.detach()).T.reshape(-1, *self.config.shape)

    def score(
        self, pictures: Float[Tensor, "n channels height width"], log_z: LogPartition | None = None
    ) -> LogLikelihood:
        """Log p(v) of each picture: exact where Z can be summed up, else with Z by AIS.

        `log_z`: what `log_partition` returned for this machine; it takes a minute, and is found where it is
        not given. Raises InputError where a picture is grey and the pixels are Bernoulli: p is of 0 and 1.
        """
        from bottega.models.rbm_likelihood import log_partition

        v = self._binary_of(pictures)
        log_z = log_partition(self) if log_z is None else log_z
        with torch.no_grad():
            free = torch.cat([self.free_energy(rows) for rows in torch.split(v, ROWS)])
        nats = -free.double().cpu().numpy() - log_z.value
        return LogLikelihood(nats, log_z.kind, log_z.error, density=self.scores_density)

    @torch.no_grad()
    def pseudo_likelihood(self, pictures: Float[Tensor, "n channels height width"]) -> LogLikelihood:
        """Σ_i log p(v_i | all other pixels) of each picture (Besag 1975), over every pixel: nothing is drawn.

        log p(v_i | rest) = log σ(F(v with pixel i turned over) - F(v)). Raises InputError for Gaussian
        pixels, which cannot be turned over, and for grey pictures.
        """
        if self.config.visible != "bernoulli":
            raise InputError("the pseudo-likelihood is of Bernoulli pixels; a Gaussian RBM has score alone")
        W, b, c = (precise(p) for p in (self.weight, self.visible_bias, self.hidden_bias))
        found = []
        for v in torch.split(precise(self._binary_of(pictures)), ROWS):
            x, nats = torch.addmm(c, v, W), torch.zeros(len(v), dtype=torch.float64, device=v.device)
            before = F.softplus(x).sum(-1)
            for i, weights in enumerate(W):
                change = 1 - 2 * v[:, i]  # of this pixel
                after = F.softplus(torch.addcmul(x, change[:, None], weights)).sum(-1)
                nats += F.logsigmoid(before - after - change * b[i])
            found.append(nats)
        return LogLikelihood(torch.cat(found).cpu().numpy(), "pseudo")

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and the weights, and the chains; WorkError where the disk cannot take them."""
        write_model(folder, MODEL_TYPE, self.config, self.state_dict())

    @classmethod
    def from_pretrained(cls, path: str | Path) -> RBM:
        """Read what `save_pretrained` wrote; InputError where it is damaged or holds something else."""
        return read_model(path, MODEL_TYPE, RBMConfig, cls)

    # Pictures and pixels

    def pixels_of(self, pictures: Float[Tensor, ...]) -> Float[Tensor, "n pixels"]:
        """Pictures as rows for this machine; InputError where they are not numbers in [0, 1] of its shape."""
        return check_pictures(pictures, self.config.shape, "the RBM").flatten(1).to(self.weight)

    def _binary_of(self, pictures: Tensor) -> Tensor:
        v = self.pixels_of(pictures)
        if self.config.visible == "bernoulli" and bool((v * (1 - v)).any()):
            raise InputError("p(v) of Bernoulli pixels is of zeros and ones; draw them from the grey values")
        return v

    def _means(self, visible_input: Tensor) -> Tensor:
        if self.config.visible == "bernoulli":
            return self._as_pictures(visible_input.float().sigmoid())
        return self._as_pictures(visible_input)

    def _as_pictures(self, v: Tensor) -> Tensor:
        return v.float().clamp(0, 1).reshape(-1, *self.config.shape)

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator(device=self.weight.device).manual_seed(seed)


def precise(x: Tensor) -> Tensor:
    """bf16 has too few digits for energies."""
    return x.float() if x.dtype == torch.bfloat16 else x
