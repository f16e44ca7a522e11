"""Several corpora in fixed proportions, as GPT-3 was trained (Brown et al., 2020, section 2.2 and table 2.2).

Every sequence of every step is drawn from one source, with a probability that is the source's weight,
whatever its size: a small source of good text is seen several times while a large one is not seen to its
end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from bottega.data.loader import PackedLoader
from bottega.data.shard_files import Int64s, TokenShards
from bottega.errors import InputError


def epochs_elapsed(tokens: Sequence[float], weights: Sequence[float], budget: float) -> list[float]:
    """How many times each source is gone through within a budget of tokens.

    `tokens` are the sizes of the sources, `weights` their shares of the training (normalised here),
    `budget` the tokens of the whole training, in the unit of `tokens`. Raises `InputError` where these
    cannot be.
    """
    if len(tokens) != len(weights):
        raise InputError(f"{len(tokens)} sizes and {len(weights)} weights; expected one weight a source")
    if budget < 0 or any(size <= 0 for size in tokens):
        raise InputError(f"the sizes are {list(tokens)}, the budget {budget}; expected sizes above 0")
    return [budget * share / size for size, share in zip(tokens, _normalised(weights), strict=True)]


class Mixture:
    """Batches from several sources by weight; takes the place of a `PackedLoader`.

    The source of the sequence at a position is drawn from (seed, position) alone, so that all ranks agree
    and a resumed run goes on as if undisturbed. Each source has its own cursor and is shuffled like a
    corpus of its own.

    Raises `InputError` where the names of sources and weights differ, a weight is negative or all are 0, the
    sources were made with different tokenizers, or one of them is shorter than one context.
    """

    def __init__(
        self,
        sources: Mapping[str, TokenShards],
        weights: Mapping[str, float],
        context_length: int,
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        fim_rate: float = 0.0,
    ):
        if not sources or set(sources) != set(weights):
            raise InputError(
                f"the sources are {_listed(sources)}, the weights are for {_listed(weights)}; "
                "expected one weight for each source"
            )
        if len({shards.tokenizer_digest for shards in sources.values()}) > 1:
            raise InputError(
                f"the sources {_listed(sources)} were not all prepared with the same tokenizer; "
                "prepare them again with one"
            )
        self.names = sorted(sources)
        self.weights = _normalised([weights[name] for name in self.names])
        self.loaders = {}
        for name in self.names:
            try:
                self.loaders[name] = PackedLoader(
                    sources[name],
                    context_length,
                    batch_size,
                    seed=seed,
                    rank=rank,
                    world_size=world_size,
                    fim_rate=fim_rate,
                )
            except InputError as error:
                raise InputError(f"source {name}: {error}") from None
        self.batch_size, self.seed, self.rank, self.world_size = batch_size, seed, rank, world_size
        self.position = 0  # sequences taken so far, over all sources and ranks

    @property
    def epochs(self) -> dict[str, float]:
        """How many times each source has been gone through so far, in parts of an epoch."""
        return {name: loader.epochs for name, loader in self.loaders.items()}

    def next_batch(self) -> dict[str, Int[Tensor, "rows time"]]:
        """This rank's rows of the next step: `ids`, `targets`, (batch_size / world_size, context_length)."""
        source = self._draw(self.position, self.batch_size)
        rows = self.batch_size // self.world_size
        mine = slice(self.rank * rows, (self.rank + 1) * rows)
        parts, places = [], []
        for number, loader in enumerate(self.loaders.values()):
            of_source = source == number
            # The n-th row of this step that falls to a source is n places behind the cursor of that source.
            positions = loader.position + np.cumsum(of_source) - 1
            parts.append(loader.rows(positions[mine][of_source[mine]]))
            places.append(np.flatnonzero(of_source[mine]))
            loader.position += int(of_source.sum())
        self.position += self.batch_size
        order = torch.from_numpy(np.argsort(np.concatenate(places)))
        return {name: torch.cat([part[name] for part in parts])[order] for name in ("ids", "targets")}

    def state_dict(self) -> dict[str, Any]:
        """The cursors, and what they are only valid for."""
        sources = {name: loader.state_dict() for name, loader in self.loaders.items()}
        return {"position": self.position, "weights": self.weights, "sources": sources}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; raises `InputError` if the sources or anything of theirs differs."""
        sources = state.get("sources", {})
        if sorted(sources) != self.names or state.get("weights") != self.weights:
            raise InputError(
                f"the saved run mixed {_listed(sorted(sources))} by {state.get('weights')}, but now it is "
                f"{_listed(self.names)} by {self.weights}; resume with the same or start a new run"
            )
        for name, loader in self.loaders.items():
            loader.load_state_dict(sources[name])
        self.position = int(state["position"])

    def _draw(self, position: int, count: int) -> Int64s:
        """The number of the source for each of `count` sequences from `position` on."""
        # One block of the counter-based generator a position; its raw bits are frozen by numpy for good.
        noise = np.random.Philox(key=np.array([self.seed, 2**63], np.uint64), counter=position)
        uniform = (noise.random_raw(4 * count)[::4] >> np.uint64(11)) * 2.0**-53
        # The last bound is left out: rounding may have put it a little below 1.
        return np.searchsorted(np.cumsum(self.weights)[:-1], uniform, side="right")


def _normalised(weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    if not 0 < total < float("inf") or any(weight < 0 for weight in weights):
        raise InputError(f"the weights are {list(weights)}; expected none below 0, and one above it")
    return [weight / total for weight in weights]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
