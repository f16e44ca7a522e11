"""Batches of labelled texts for a classifier that descends a gradient; the cursor is one integer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bottega.errors import InputError


class LabelledBatches:
    """{"ids" (batch × time, padded on the right), "labels" (batch)}, in a new order each epoch.

    `rows` are the token ids of each text and `labels` the numbers of their classes.
    """

    def __init__(
        self, rows: Sequence[Sequence[int]], labels: Sequence[int], batch_size: int, pad: int, seed: int = 0
    ) -> None:
        if len(rows) < batch_size:
            raise InputError(f"{len(rows)} texts make no batch of {batch_size}; lower batch_size")
        self.rows, self.labels, self.batch_size = rows, labels, batch_size
        self.pad, self.seed, self.step = pad, seed, 0

    def next_batch(self) -> dict[str, Tensor]:
        """The batch of this step; the last texts of an epoch that fill no batch are left to the next."""
        epoch, place = divmod(self.step, len(self.rows) // self.batch_size)
        self.step += 1
        key = np.array([self.seed, epoch], np.uint64)
        order = np.random.Generator(np.random.Philox(key=key)).permutation(len(self.rows))
        return self._batch(order[place * self.batch_size : (place + 1) * self.batch_size])

    def in_order(self) -> Iterator[dict[str, Tensor]]:
        """Every text once: for validation."""
        for start in range(0, len(self.rows), self.batch_size):
            yield self._batch(range(start, min(start + self.batch_size, len(self.rows))))

    def state_dict(self) -> dict[str, Any]:
        """The cursor."""
        return {"step": self.step, "seed": self.seed, "texts": len(self.rows)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go where the cursor says; InputError where it is of other data."""
        here = self.state_dict() | {"step": state.get("step")}
        if state != here:
            raise InputError(f"the run was begun on other data ({state}, now {here}); give the same --data")
        self.step = int(state["step"])

    def _batch(self, numbers: Any) -> dict[str, Tensor]:
        rows = [self.rows[number] for number in numbers]
        ids = np.full((len(rows), max(map(len, rows))), self.pad, np.int64)
        for line, row in zip(ids, rows, strict=True):
            line[: len(row)] = row
        labels = torch.tensor([self.labels[number] for number in numbers])
        return {"ids": torch.from_numpy(ids), "labels": labels}
