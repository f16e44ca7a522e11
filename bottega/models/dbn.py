"""The deep belief network (Hinton, Osindero & Teh 2006): restricted Boltzmann machines upon each other.

The first machine learns the pictures; the next one the hidden states that pictures raise in it, and so on:
greedily, layer by layer. Of all of them only the top one stays undirected, and the layers under it draw from
above to below, each from its machine's p(v | h):

    p(v, h¹, …, h^L) = p(v | h¹) p(h¹ | h²) … p(h^(L-1), h^L)      (section 4; Bengio et al. 2007, section 2)

For p(h | v) stands Q, each machine's own, in one pass upwards. `dbn_classifier` makes that pass a network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.models.abilities import LogLikelihood
from bottega.models.folders import read_model, write_model
from bottega.models.rbm import RBM, RBMConfig
from bottega.nn.bernoulli import bernoulli

if TYPE_CHECKING:
    from bottega.models.rbm_likelihood import LogPartition

MODEL_TYPE = "bottega-dbn"


@dataclass(frozen=True)
class DBNConfig:
    """The pictures' shape, the widths of the hidden layers from below to above, and the steps of Gibbs."""

    channels: int = 1
    height: int = 28
    width: int = 28
    layers: tuple[int, ...] = (500, 500, 2000)
    k: int = 1
    """Steps of Gibbs in the contrastive divergence of every machine."""

    def __post_init__(self) -> None:
        if not self.layers:
            raise InputError("layers is empty; expected the widths of one or more hidden layers")
        self.machine_configs()

    def machine_configs(self) -> list[RBMConfig]:
        """What each machine is: the first sees pictures, the others a row of hidden units."""
        shapes = [(self.channels, self.height, self.width), *((1, 1, width) for width in self.layers)]
        return [
            RBMConfig(*shape, n_hidden=width, k=self.k)
            for shape, width in zip(shapes[:-1], self.layers, strict=True)
        ]


class DBN(nn.Module):
    """A stack of trained machines. There is no loss of the whole: each was trained by its own."""

    def __init__(self, config: DBNConfig, rbms: Sequence[RBM] = ()) -> None:
        super().__init__()
        self.config = config
        self.rbms = nn.ModuleList(rbms or map(RBM, config.machine_configs()))

    @classmethod
    def of(cls, rbms: Sequence[RBM]) -> DBN:
        """The stack of these machines, the lowest first; they are shared, not copied."""
        first = rbms[0].config
        return cls(DBNConfig(*first.shape, tuple(rbm.config.n_hidden for rbm in rbms), first.k), rbms)

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a picture."""
        return self.config.channels, self.config.height, self.config.width

    @property
    def scores_density(self) -> bool:
        """Log p is of pictures of zeros and ones."""
        return False

    @property
    def machines(self) -> list[RBM]:
        """The machines, the lowest first."""
        return list(self.rbms)  # type: ignore[arg-type]

    # Upwards

    @torch.no_grad()
    def states(
        self, pictures: Float[Tensor, "n channels height width"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "n hidden"]:
        """Draw the layers over pictures one by one from Q; the top one. Data of the next machine."""
        return self._under(len(self.rbms), pictures, generator)

    def _under(self, depth: int, pictures: Tensor, generator: torch.Generator | None) -> Tensor:
        v = self.machines[0].pixels_of(pictures)
        for rbm in self.machines[:depth]:
            v = bernoulli(rbm.hidden_input(v), generator)
        return v

    @torch.no_grad()
    def encode(self, pictures: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n hidden"]:
        """Probabilities of the top units, each layer taking those of the one below for its states."""
        code = self.machines[0].pixels_of(pictures)
        for rbm in self.machines:
            code = torch.sigmoid(rbm.hidden_input(code))
        return code

    # Downwards

    @torch.no_grad()
    def decode(self, codes: Float[Tensor, "n hidden"]) -> Float[Tensor, "n channels height width"]:
        """Means of the pixels, each layer taking the probabilities of the one above for its states."""
        mean = self._top.decode(codes).flatten(1)
        for rbm in self.machines[-2::-1]:
            mean = torch.sigmoid(rbm.visible_input(mean))
        return self._pictures(mean)

    def reconstruct(
        self, pictures: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n channels height width"]:
        """All the way up and down again by probabilities."""
        return self.decode(self.encode(pictures))

    def _down(self, mean: Tensor, generator: torch.Generator) -> Tensor:
        """From the means of the top machine's pixels to those of the picture, drawing each layer between."""
        for rbm in self.machines[-2::-1]:
            h = torch.bernoulli(mean, generator=generator)
            mean = torch.sigmoid(rbm.visible_input(h.to(rbm.weight)).float())
        return self._pictures(mean)

    @torch.no_grad()
    def sample(self, n: int, seed: int = 0) -> Float[Tensor, "n channels height width"]:
        """Pictures from the top: Gibbs in the top machine, then once down; as the means of their pixels."""
        return self._down(self._top.sample(n, seed).flatten(1), self._generator(seed))

    @torch.no_grad()
    def chain(
        self, start: Tensor | int, steps: int = 1000, every: int = 100, seed: int = 0
    ) -> Float[Tensor, "kept n channels height width"]:
        """Chains of Gibbs in the top machine, as pictures: from pictures, or from so many draws of noise.

        What is kept is the start and what stands after each `every` steps. Raises InputError where nothing
        would move.
        """
        generator = self._generator(seed)
        if isinstance(start, Tensor):
            under_top = self._under(len(self.rbms) - 1, start, generator)
            start = under_top.reshape(-1, *self._top.picture_shape)
        kept = self._top.chain(start, steps, every, seed)
        return torch.stack([self._down(one.flatten(1), generator) for one in kept])

    def features(self) -> Float[Tensor, "n channels height width"]:
        """The weights of each unit of the first layer as a picture, any range."""
        return self.machines[0].features()

    # How probable pictures are

    @torch.no_grad()
    def score(
        self,
        pictures: Float[Tensor, "n channels height width"],
        log_z: LogPartition | None = None,
        draws: int = 20,
        seed: int = 0,
    ) -> LogLikelihood:
        """A lower bound of log p(v), with Z of the top machine (Salakhutdinov & Murray 2008, section 4).

            log p(v) ≥ E_Q[Σ_l log p(h^l | h^(l+1)) + log p_top(h^(L-1))] + the entropy of Q

        E_Q is the mean of `draws` passes upwards, Q's entropy given the layer below is exact. `log_z`: what
        `log_partition` returned for the top machine; else it is found here. Raises InputError where a picture
        is grey: p is of zeros and ones.
        """
        from bottega.models.rbm_likelihood import log_partition

        v = self.machines[0].pixels_of(pictures)
        if bool((v * (1 - v)).any()):
            raise InputError("p(v) is of zeros and ones; draw them from the grey values")
        log_z = log_partition(self._top) if log_z is None else log_z
        generator = self._generator(seed)
        passes = np.stack([self._bound(v, generator).double().cpu().numpy() for _ in range(draws)])
        of_draws = passes.mean(1).std(ddof=1) / math.sqrt(draws) if draws > 1 else 0.0
        error = math.hypot(log_z.error, of_draws)
        return LogLikelihood(passes.mean(0) - log_z.value, "elbo", error)

    def _bound(self, v: Tensor, generator: torch.Generator) -> Tensor:
        """The bound plus log Z, by one pass upwards."""
        nats = torch.zeros(len(v), device=v.device)
        for rbm in self.machines[:-1]:
            q = rbm.hidden_input(v)
            h = bernoulli(q, generator)
            nats -= _cross_entropy(rbm.visible_input(h), v)  # log p(v | h)
            nats += _cross_entropy(q, q.sigmoid())  # the entropy of Q(h | v)
            v = h
        return nats - self._top.free_energy(v)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and the weights; WorkError where the disk cannot take them."""
        write_model(folder, MODEL_TYPE, self.config, self.state_dict())

    @classmethod
    def from_pretrained(cls, path: str | Path) -> DBN:
        """Read what `save_pretrained` wrote; InputError where it is damaged or holds something else."""
        return read_model(path, MODEL_TYPE, DBNConfig, cls)

    @property
    def _top(self) -> RBM:
        return self.machines[-1]

    def _pictures(self, pixels: Tensor) -> Tensor:
        return pixels.float().reshape(-1, *self.picture_shape)

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator(device=self._top.weight.device).manual_seed(seed)


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Nats of each row: -Σ t log σ(x) + (1 - t) log σ(-x)."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(-1)
