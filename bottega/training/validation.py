"""The loss over a whole held-out split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import nn

from bottega.training.context import Batch, loss_of
from bottega.training.distributed import world_from_environment

Validation = Callable[[nn.Module], Mapping[str, float]]


class HeldOut:
    """Scores every batch that `batches()` gives: nats a target and, given the text's length, bits a byte.

    `n_bytes` is the UTF-8 length of the split; `metrics` names those of the model's loss that are wanted
    too. Ranks take turns at the batches and add up what they found.
    """

    def __init__(
        self,
        batches: Callable[[], Iterable[Batch]],
        n_bytes: int | None = None,
        metrics: Sequence[str] = (),
    ) -> None:
        self.batches, self.n_bytes, self.metrics = batches, n_bytes, metrics

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Return `loss` and the metrics (a target) and, where the bytes are known, `bits_per_byte`."""
        world = world_from_environment()
        device = next(model.parameters()).device
        sums = torch.zeros(2 + len(self.metrics), dtype=torch.float64, device=device)
        for turn, batch in enumerate(self.batches()):
            if turn % world.size == world.rank:
                loss = loss_of(model, {name: tensor.to(device) for name, tensor in batch.items()})
                found = [loss.total.detach(), loss.count, *(loss.metrics[name] for name in self.metrics)]
                sums += torch.stack([value.to(sums) for value in found])
        world.add_up(sums)
        total, count, *metrics = sums.tolist()
        values = {"loss": total / max(count, 1)}
        values |= {name: value / max(count, 1) for name, value in zip(self.metrics, metrics, strict=True)}
        if self.n_bytes:
            values["bits_per_byte"] = total / math.log(2) / self.n_bytes
        return values
