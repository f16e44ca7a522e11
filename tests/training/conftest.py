"""A model and batches as small as they can be: next-token prediction over a periodic sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bottega.nn.loss import Loss


@dataclass(frozen=True)
class TinyConfig:
    vocab_size: int = 13
    width: int = 16


class Tiny(nn.Module):
    """Embedding, one hidden matrix, dropout, tied head: a bigram model that has all kinds of parameters."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.hidden = nn.Linear(config.width, 3 * config.width)
        self.norm = nn.LayerNorm(3 * config.width)
        self.out = nn.Linear(3 * config.width, config.width)
        self.dropout = nn.Dropout(0.1)
        self.register_buffer("calls", torch.zeros(()))

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        if self.training:
            self.calls += 1
        x = self.embedding(batch["ids"])
        x = self.out(torch.relu(self.dropout(self.norm(self.hidden(x)))))
        logits = (x @ self.embedding.weight.T).float().flatten(0, 1)
        targets = batch["targets"].flatten()
        total = nn.functional.cross_entropy(logits, targets, reduction="sum", ignore_index=-100)
        return Loss(total, (targets != -100).sum())

    def matrix_parameters(self) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
        width = self.config.width
        yield self.hidden.weight, (width, width, width)
        yield self.out.weight, (width,)


class Rows:
    """Batches cut from a sequence with a cursor, as a loader gives them; each rank has its rows."""

    def __init__(self, batch_size: int = 8, time: int = 10, rank: int = 0, world_size: int = 1) -> None:
        self.batch_size, self.time, self.rank, self.world_size = batch_size, time, rank, world_size
        self.position = 0

    def next_batch(self) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(self.position)
        start = torch.randint(0, 13, (self.batch_size, 1), generator=generator)
        rows = (start + torch.arange(self.time + 1) * 5) % 13
        targets = rows[:, 1:].clone()
        targets[torch.rand(targets.shape, generator=generator) < 0.2] = -100
        self.position += 1
        mine = slice(
            self.rank * self.batch_size // self.world_size,
            (self.rank + 1) * self.batch_size // self.world_size,
        )
        return {"ids": rows[mine, :-1], "targets": targets[mine]}

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]


@pytest.fixture
def tiny() -> Callable[[], Tiny]:
    def build() -> Tiny:
        torch.manual_seed(7)
        return Tiny(TinyConfig())

    return build


@pytest.fixture
def rows() -> Callable[..., Rows]:
    return Rows
