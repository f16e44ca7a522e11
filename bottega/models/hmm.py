"""The hidden Markov model: a chain of states that nobody sees, each emitting what is seen.

Rabiner (1989), "A tutorial on hidden Markov models and selected applications in speech recognition", whose
three problems are `score` (forward), `decode` (Viterbi) and `fit` (Baum-Welch). All probabilities are kept as
logs in float64, and so are sums over states, many sequences at a time; only where no term could vanish by it
are they taken of scaled numbers, at the machine's pace (`hmm_steps`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from bottega.data.disk import atomic_file, write_json
from bottega.errors import InputError

Number = int | float
MODEL_TYPE = "bottega-hmm"
_AT_ONCE = 2**22  # numbers in a table of a batch
# Nats: where no move and no symbol is rarer than this, no product of the two under the other states' is zero.
_SPAN = 150.0


@dataclass(frozen=True)
class HMMConfig:
    """`size`: how many symbols a categorical state may emit, or how many numbers a Gaussian one emits."""

    n_states: int
    emissions: Literal["categorical", "gaussian"]
    size: int

    def __post_init__(self) -> None:
        if self.n_states < 1 or self.size < 1:
            raise InputError(f"an HMM needs states and symbols, not {self.n_states} and {self.size}")
        if self.emissions not in ("categorical", "gaussian"):
            raise InputError(f"emissions are categorical or gaussian, not {self.emissions!r}")


class Categorical:
    """Every state has its own distribution over symbols."""

    def __init__(self, log_prob: Tensor) -> None:
        self.table = log_prob  # (state, symbol), nats

    @classmethod
    def drawn(cls, config: HMMConfig, seen: Tensor, generator: torch.Generator) -> Categorical:
        """As often as seen, times noise: were the states alike, Baum-Welch would be long in parting them."""
        counts = torch.bincount(seen, minlength=config.size) + 1.0
        noise = torch.rand(config.n_states, config.size, generator=generator, dtype=torch.float64)
        return cls((-(1 - noise).log() * counts).log().log_softmax(-1))

    def log_prob(self, seen: Tensor) -> Tensor:
        """(…,) symbols → (…, state) nats."""
        return self.table.T[seen]

    def update(self, seen: Tensor, weights: Tensor, prior: Number = 0.0) -> Categorical:
        """The likeliest for symbols (n,) that belong to the states by `weights` (n, state).

        `prior` is added to each count: the mode under a Dirichlet distribution of 1 + `prior`.
        """
        counts = torch.zeros_like(self.table.T).index_add_(0, seen, weights).T + prior
        return Categorical(_normalised(counts, self.table))

    def draw(self, state: int, rng: np.random.Generator) -> int:
        """A symbol."""
        return _draw(self.table[state], rng)

    def tensors(self) -> dict[str, Tensor]:
        """What a file keeps."""
        return {"emission": self.table}


class Gaussian:
    """Every state has a mean and a variance of each feature (a diagonal covariance)."""

    FLOOR = 1e-6  # variance: a state that owns one point would else grow infinitely sure

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        self.mean, self.variance = mean, variance  # (state, feature)

    @classmethod
    def drawn(cls, config: HMMConfig, seen: Tensor, generator: torch.Generator) -> Gaussian:
        """Means at points that were seen, the variance of all."""
        chosen = torch.randperm(len(seen), generator=generator)[: config.n_states]
        means = seen[chosen.repeat(config.n_states)[: config.n_states]]
        variance = seen.var(0, unbiased=False).clamp(min=cls.FLOOR)
        return cls(means, variance.repeat(config.n_states, 1))

    def log_prob(self, seen: Tensor) -> Tensor:
        """(…, feature) → (…, state) nats."""
        distance = (seen[..., None, :] - self.mean) ** 2 / self.variance
        return -0.5 * (distance + self.variance.log() + math.log(2 * math.pi)).sum(-1)

    def update(self, seen: Tensor, weights: Tensor, _: Number = 0.0) -> Gaussian:
        """The likeliest for points (n, feature) that belong to the states by `weights` (n, state)."""
        mass = weights.sum(0)[:, None]
        used = mass > 0
        mean = torch.where(used, weights.T @ seen / mass.clamp(min=1e-300), self.mean)
        square = weights.T @ seen**2 / mass.clamp(min=1e-300) - mean**2
        return Gaussian(mean, torch.where(used, square.clamp(min=self.FLOOR), self.variance))

    def draw(self, state: int, rng: np.random.Generator) -> list[float]:
        """A point."""
        drawn = rng.normal(self.mean[state].numpy(), self.variance[state].sqrt().numpy())
        return cast(list[float], drawn.tolist())

    def tensors(self) -> dict[str, Tensor]:
        """What a file keeps."""
        return {"mean": self.mean, "variance": self.variance}


class HMM:
    """A first-order hidden Markov model; a sequence is (time,) symbols or (time, feature) numbers."""

    def __init__(
        self, config: HMMConfig, start: Tensor, transition: Tensor, emissions: Categorical | Gaussian
    ) -> None:
        self.config, self.emissions = config, emissions
        self.start = start  # (state,), nats
        self.transition = transition  # (from, to), nats

    @classmethod
    def drawn(cls, config: HMMConfig, sequences: Sequence[Any], seed: int = 0) -> HMM:
        """Random parameters to begin from; Gaussian means are drawn from the sequences."""
        generator = torch.Generator().manual_seed(seed)
        seen = torch.cat(_read(sequences, config))
        noise = torch.rand(config.n_states, config.n_states, generator=generator, dtype=torch.float64)
        kind = Categorical if config.emissions == "categorical" else Gaussian
        start = torch.full((config.n_states,), -math.log(config.n_states), dtype=torch.float64)
        return cls(config, start, (1 + noise).log().log_softmax(-1), kind.drawn(config, seen, generator))

    def fit(
        self,
        sequences: Sequence[Any],
        iterations: int = 100,
        tolerance: Number = 1e-5,
        prior: Number = 0.0,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[float]:
        """Baum-Welch (Rabiner 1989, section III.C) until an iteration gains less than `tolerance` a step.

        `prior` is added to the counts of moves and of symbols, so that what was not seen stays possible: a
        model of language needs it. `progress` hears of iterations, done and in all.

        Returns the log-likelihood in nats before each iteration, which never falls where `prior` is 0. Raises
        InputError for no observations, symbols out of range, or numbers that are not finite.
        """
        data = _read(sequences, self.config)
        steps = sum(map(len, data))
        history: list[float] = []
        for done in range(iterations):
            history.append(self._iterate(data, prior))
            if progress:
                progress(done + 1, iterations)
            if len(history) > 1 and history[-1] - history[-2] < tolerance * steps:
                break
        return history

    def score(self, sequence: Any) -> float:
        """The log-probability of a sequence in nats, exact, over all paths (the forward algorithm)."""
        return float(self.log_probs(sequence).sum())

    def log_probs(self, sequence: Any) -> Tensor:
        """Nats of each observation given all before it, (time,): a Gaussian's are log-densities."""
        (seen,) = _read([sequence], self.config)
        nats = self.emissions.log_prob(seen)
        if (scaled := self._scaled(nats)) is not None:
            from bottega.models import hmm_steps

            alpha, scale = np.empty(nats.shape), np.empty(len(nats))
            hmm_steps.forward(
                self.start.exp().numpy(), self.transition.exp().numpy(), scaled.numpy(), alpha, scale
            )
            return torch.from_numpy(np.log(scale)) + nats.amax(-1)
        reached, _ = self._forward(nats[:, None], torch.tensor([len(nats)]))
        return reached[:, 0].logsumexp(-1).diff(prepend=torch.zeros(1, dtype=torch.float64))

    def posterior(self, sequence: Any) -> Tensor:
        """The probability of each state at each time given the whole sequence: (time, state)."""
        seen, lengths = _padded(_read([sequence], self.config))
        nats = self.emissions.log_prob(seen)
        alpha, total = self._forward(nats, lengths)
        return (alpha + self._backward(nats, lengths) - total)[:, 0].exp()

    def decode(self, sequence: Any) -> tuple[list[int], float]:
        """The single most probable path of states, and its log-probability in nats (Viterbi 1967)."""
        (seen,) = _read([sequence], self.config)
        nats = self.emissions.log_prob(seen)
        best, came_from = self.start + nats[0], []
        for now in nats[1:]:
            best, origin = (best[:, None] + self.transition).max(0)
            came_from.append(origin)
            best = best + now
        path = [int(best.argmax())]
        for origin in reversed(came_from):
            path.append(int(origin[path[-1]]))
        return path[::-1], float(best.max())

    def sample(self, n: int, seed: int = 0) -> tuple[list[int], list[Any]]:
        """Draw `n` steps: the states, and what they emitted."""
        rng = np.random.default_rng(seed)
        states: list[int] = []
        for _ in range(n):
            states.append(_draw(self.transition[states[-1]] if states else self.start, rng))
        return states, [self.emissions.draw(state, rng) for state in states]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors."""
        from safetensors.torch import save

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"start": self.start, "transition": self.transition} | self.emissions.tensors()
        with atomic_file(folder / "model.safetensors") as file:
            file.write(save({name: tensor.contiguous() for name, tensor in tensors.items()}))
        write_json(folder / "config.json", {"model_type": MODEL_TYPE, **asdict(self.config)})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> HMM:
        """Read what `save_pretrained` wrote; InputError where it is damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            settings = json.loads((Path(folder) / "config.json").read_text("utf-8"))
            if settings.pop("model_type") != MODEL_TYPE:
                raise InputError(f"{folder} holds another model than an HMM")
            config = HMMConfig(**settings)
            tensors = load_file(Path(folder) / "model.safetensors")
            categorical = config.emissions == "categorical"
            names = ["emission"] if categorical else ["mean", "variance"]
            for name in ("start", "transition", *names):
                width = config.size if name in names else config.n_states
                if tensors[name].shape != (config.n_states, width)[name == "start" :]:
                    raise ValueError(f"{name} has the shape {tuple(tensors[name].shape)}")
        except FileNotFoundError:
            raise InputError(f"{folder} holds no HMM (no config.json or no model.safetensors)") from None
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{folder} is damaged ({error}); train the model again") from None
        kind = Categorical if categorical else Gaussian
        return cls(config, tensors["start"], tensors["transition"], kind(*(tensors[n] for n in names)))

    def _forward(self, nats: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """α (time, sequence, state), eq. 19-20 in logs, and each sequence's log-probability, eq. 21.

        Behind a sequence's end α stays as it was there, so that its last row is every sequence's end.
        """
        alpha = [self.start + nats[0]]
        for t in range(1, len(nats)):
            reached = (alpha[-1][:, :, None] + self.transition).logsumexp(1) + nats[t]
            alpha.append(torch.where((t < lengths)[:, None], reached, alpha[-1]))
        return torch.stack(alpha), alpha[-1].logsumexp(-1)

    def _backward(self, nats: Tensor, lengths: Tensor) -> Tensor:
        """β (time, sequence, state), eq. 24-25 in logs."""
        beta = [torch.zeros_like(nats[0])]
        for t in range(len(nats) - 1, 0, -1):
            after = (self.transition + (nats[t] + beta[-1])[:, None, :]).logsumexp(-1)
            beta.append(torch.where((t < lengths)[:, None], after, beta[-1]))
        return torch.stack(beta[::-1])

    def _scaled(self, nats: Tensor) -> Tensor | None:
        """Observations' probabilities under the states (time, state), divided by the largest of each step.

        None where scaling could lose a state that matters later.
        """
        scaled = nats - nats.amax(-1, keepdim=True)
        rarest = min(float(part.amin()) for part in (self.start, self.transition, scaled))
        return scaled.exp() if rarest > -_SPAN else None

    def _iterate(self, data: list[Tensor], prior: Number) -> float:
        """One step of expectation and maximisation; returns the log-likelihood that it began with."""
        start, moves, likelihood = torch.zeros_like(self.start), torch.zeros_like(self.transition), 0.0
        observed, weights = [], []
        for group in _groups(data, self.config):
            begun, moved, nats, seen, gamma = self._expected(group)
            start, moves, likelihood = start + begun, moves + moved, likelihood + nats
            observed.append(seen)
            weights.append(gamma)
        self.start = _normalised(start + prior, self.start)
        self.transition = _normalised(moves + prior, self.transition)
        self.emissions = self.emissions.update(torch.cat(observed), torch.cat(weights), prior)
        return likelihood

    def _expected(self, group: list[Tensor]) -> tuple[Tensor, Tensor, float, Tensor, Tensor]:
        """Expected beginnings and moves, the log-likelihood, observations, their states' probabilities."""
        joined = torch.cat(group)
        nats = self.emissions.log_prob(joined)
        if (scaled := self._scaled(nats)) is not None:
            from bottega.models import hmm_steps

            begun, moved = np.zeros(len(self.start)), np.zeros(self.transition.shape)
            gamma, transition = np.empty(nats.shape), self.transition.exp()
            starts = np.cumsum([0, *map(len, group)])
            likelihood = hmm_steps.expect(
                self.start.exp().numpy(), transition.numpy(), scaled.numpy(), starts, begun, moved, gamma
            )
            likelihood += float(nats.amax(-1).sum())
            return (
                torch.from_numpy(begun),
                torch.from_numpy(moved) * transition,
                likelihood,
                joined,
                torch.from_numpy(gamma),
            )
        seen, lengths = _padded(group)
        nats = self.emissions.log_prob(seen)
        alpha, total = self._forward(nats, lengths)
        beta = self._backward(nats, lengths)
        gammas = (alpha + beta - total[:, None]).exp()  # eq. 27
        real = torch.arange(len(nats))[:, None] < lengths
        moves = torch.zeros_like(self.transition)
        for t in range(1, len(nats)):  # eq. 37, summed over time
            move = alpha[t - 1][:, :, None] + self.transition + (nats[t] + beta[t])[:, None, :]
            moves += (move - total[:, None, None])[real[t]].exp().sum(0)
        return gammas[0].sum(0), moves, float(total.sum()), seen[real], gammas[real]


def _normalised(counts: Tensor, before: Tensor) -> Tensor:
    """Log-proportions of each row; a state that was never visited keeps what it had."""
    total = counts.sum(-1, keepdim=True)
    return torch.where(total > 0, counts.log() - total.log(), before)


def _draw(nats: Tensor, rng: np.random.Generator) -> int:
    cumulative = nats.exp().cumsum(0).numpy()
    return int(min(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"), len(nats) - 1))


def _read(sequences: Sequence[Any], config: HMMConfig) -> list[Tensor]:
    """The sequences that hold anything, as tensors; InputError where they do not fit the model."""
    categorical = config.emissions == "categorical"
    read = []
    for number, sequence in enumerate(sequences):
        seen = torch.as_tensor(sequence)
        if len(seen) == 0:
            continue
        if categorical and (seen.is_floating_point() or seen.dim() != 1):
            raise InputError(f"sequence {number} must be a row of whole numbers from 0 to {config.size - 1}")
        if categorical and not 0 <= int(seen.min()) <= int(seen.max()) < config.size:
            raise InputError(
                f"sequence {number} holds symbols from {int(seen.min())} to {int(seen.max())}; "
                f"the model knows 0 to {config.size - 1}"
            )
        if not categorical and (seen.dim() != 2 or seen.shape[1] != config.size or not seen.isfinite().all()):
            raise InputError(f"sequence {number} must be time × {config.size} finite numbers")
        read.append(seen.long() if categorical else seen.double())
    if not read:
        raise InputError("there is nothing to learn from: every sequence is empty")
    return read


def _groups(data: list[Tensor], config: HMMConfig) -> Iterator[list[Tensor]]:
    """Sequences of like length together, as many as a table of states at all their steps may hold."""
    ordered = sorted(data, key=len)
    width = max(1, _AT_ONCE // (config.n_states * max(config.n_states, len(ordered[-1]))))
    for first in range(0, len(ordered), width):
        yield ordered[first : first + width]


def _padded(group: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Sequences side by side, (time, sequence, …), and their lengths."""
    return torch.nn.utils.rnn.pad_sequence(group), torch.tensor([len(one) for one in group])
