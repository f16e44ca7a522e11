"""Batches of scenes that are drawn as they are asked for, and never twice; the cursor is one integer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bottega.data.scenes import SceneConfig, render, sample_scene
from bottega.errors import InputError

HELD_OUT_SEED = 0  # one set for all runs, so that what they reach can be compared


class SceneBatches:
    """Scenes `first`, `first` + 1 … of the row that `seed` begins, as tensors.

    A batch holds "pictures" (batch, 3, size, size) float32 in [0, 1]; "masks" (batch, size, size) int64, 0
    where a pixel shows the background, else 1 + the number of the shape in `SHAPES`; "boxes"
    (batch, max_objects, 4) float32, (centre x, centre y, width, height) of what can be seen of an object,
    shares of the picture, zeros where there is none; "classes" (batch, max_objects) int64, the number of the
    shape, IGNORE where there is none.
    """

    def __init__(self, config: SceneConfig, batch_size: int, seed: int = 0, first: int = 0) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0), ("first", first, 0)):
            if value < least:
                raise InputError(f"{name} must be at least {least}, not {value}")
        self.config, self.batch_size, self.seed, self.first = config, batch_size, seed, first
        self.step = 0

    def next_batch(self) -> dict[str, Tensor]:
        """The batch of this step."""
        begin = self.first + self.step * self.batch_size
        self.step += 1
        return scene_batch(self.config, self.seed, range(begin, begin + self.batch_size))

    def in_order(self, n: int, rows: int) -> Iterator[dict[str, Tensor]]:
        """The first `n` held-out scenes, `rows` at a time: the same for every seed, and never trained on."""
        for begin in range(0, n, rows):
            numbers = range(begin, min(begin + rows, n))
            yield scene_batch(self.config, HELD_OUT_SEED, numbers, held_out=True)

    def state_dict(self) -> dict[str, Any]:
        """The cursor."""
        return {"step": self.step, "seed": self.seed, "first": self.first, "scenes": asdict(self.config)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go where the cursor says; InputError where it is of other scenes."""
        here = self.state_dict() | {"step": state.get("step")}
        if state != here:
            raise InputError(
                f"the run was begun on other scenes ({state}, now {here}); give the same options"
            )
        self.step = int(state["step"])


def scene_batch(config: SceneConfig, seed: int, numbers: range, held_out: bool = False) -> dict[str, Tensor]:
    """The scenes of these numbers, as `SceneBatches` says."""
    scenes = [sample_scene(config, seed, number, held_out) for number in numbers]
    drawn = render(scenes, config.size, config.max_objects)
    low, high = drawn.boxes[..., :2] / config.size, drawn.boxes[..., 2:] / config.size
    arrays = {
        "pictures": drawn.pixels / np.float32(255),
        "masks": drawn.masks.astype(np.int64),
        "boxes": np.concatenate([(low + high) / 2, high - low], -1),
        "classes": drawn.classes,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
