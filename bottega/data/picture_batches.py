"""Batches of pictures; the cursor is one integer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bottega.data.pictures import Pictures
from bottega.errors import InputError


class PictureBatches:
    """{"pictures" (batch, channels, height, width) in [0, 1], "labels" (batch)}, in a new order each epoch.

    With `binary` a pixel is 1 with its grey value as probability, else 0, drawn anew whenever it is shown
    (dynamic binarisation: Salakhutdinov & Murray 2008). With `shift` a picture is moved by up to so many
    pixels whenever it is shown, its border drawn out. All draws go by the seed and the position.
    """

    def __init__(
        self, pictures: Pictures, batch_size: int, seed: int = 0, binary: bool = False, shift: int = 0
    ) -> None:
        if len(pictures) < batch_size:
            raise InputError(f"{len(pictures)} pictures make no batch of {batch_size}; lower batch_size")
        self.pictures, self.batch_size, self.seed, self.binary = pictures, batch_size, seed, binary
        if shift < 0:
            raise InputError(f"shift must be 0 or more pixels, not {shift}")
        self.shift, self.step = shift, 0
        self._epoch, self._order = -1, np.empty(0, np.int64)  # the order of the epoch that is being read

    def next_batch(self) -> dict[str, Tensor]:
        """The batch of this step; the last pictures of an epoch that fill no batch are left to the next."""
        epoch, place = divmod(self.step, len(self.pictures) // self.batch_size)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = _generator(self.seed, 2 * epoch).permutation(len(self.pictures))
        numbers = self._order[place * self.batch_size : (place + 1) * self.batch_size]
        self.step += 1
        return self._batch(numbers, _generator(self.seed, 2 * self.step - 1), self.shift)

    def in_order(self, rows: int) -> Iterator[dict[str, Tensor]]:
        """Every picture once and in its place, `rows` at a time; binary ones are drawn the same each time."""
        generator = _generator(0, 2**64 - 1)  # a position that no step comes to
        for start in range(0, len(self.pictures), rows):
            yield self._batch(np.arange(start, min(start + rows, len(self.pictures))), generator)

    def state_dict(self) -> dict[str, Any]:
        """The cursor."""
        return {"step": self.step, "seed": self.seed, "pictures": len(self.pictures)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go where the cursor says; InputError where it is of other data."""
        here = self.state_dict() | {"step": state.get("step")}
        if state != here:
            raise InputError(f"the run was begun on other data ({state}, now {here}); give the same --data")
        self.step = int(state["step"])

    def _batch(
        self, numbers: NDArray[np.int64], generator: np.random.Generator, shift: int = 0
    ) -> dict[str, Tensor]:
        shown = self.pictures.floats(numbers)
        if shift:
            shown = _shifted(shown, shift, generator)
        if self.binary:
            shown = (generator.random(shown.shape, np.float32) < shown).astype(np.float32)
        return {
            "pictures": torch.from_numpy(shown),
            "labels": torch.from_numpy(self.pictures.labels[numbers]),
        }


def _shifted(pictures: NDArray[np.float32], most: int, generator: np.random.Generator) -> NDArray[np.float32]:
    wide = np.pad(pictures, ((0, 0), (0, 0), (most, most), (most, most)), "edge")
    places = np.lib.stride_tricks.sliding_window_view(wide, pictures.shape[2:], (2, 3))
    down, right = generator.integers(0, 2 * most + 1, (2, len(pictures)))
    return places[np.arange(len(pictures)), :, down, right]


def _generator(seed: int, position: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, position], np.uint64)))
