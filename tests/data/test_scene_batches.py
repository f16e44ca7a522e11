"""Batches of scenes: the right tensors, a cursor, and held-out scenes that training never sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bottega.data.scene_batches import SceneBatches
from bottega.data.scenes import SHAPES, SceneConfig, render, sample_scene
from bottega.errors import InputError
from bottega.nn.loss import IGNORE
from bottega.training.context import Batches

CONFIG = SceneConfig(32, 1, 3)


def test_a_batch_is_what_was_drawn():
    batches = SceneBatches(CONFIG, 4, seed=2, first=10)
    assert isinstance(batches, Batches)
    batches.next_batch()
    batch = batches.next_batch()
    drawn = render([sample_scene(CONFIG, 2, number) for number in range(14, 18)], 32, 3)
    assert torch.equal((batch["pictures"] * 255).round().byte(), torch.from_numpy(drawn.pixels))
    assert batch["pictures"].dtype == torch.float32
    assert batch["masks"].dtype == batch["classes"].dtype == torch.int64
    assert torch.equal(batch["masks"], torch.from_numpy(drawn.masks).long())
    x, y, width, height = batch["boxes"].unbind(-1)
    corners = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1) * 32
    assert torch.allclose(corners, torch.from_numpy(drawn.boxes), atol=1e-4)
    there = batch["classes"] != IGNORE
    assert ((width > 0) == there).all()
    assert batch["classes"][there].max() < len(SHAPES)


def test_the_cursor_is_part_of_a_checkpoint():
    batches = SceneBatches(CONFIG, 4)
    batches.next_batch()
    cursor, expected = batches.state_dict(), batches.next_batch()
    again = SceneBatches(CONFIG, 4)
    again.load_state_dict(cursor)
    assert torch.equal(again.next_batch()["pictures"], expected["pictures"])
    with pytest.raises(InputError, match="begun on other scenes"):
        SceneBatches(CONFIG, 4, seed=1).load_state_dict(cursor)


def test_held_out_scenes_are_the_same_for_every_seed_and_never_trained_on():
    one, other = SceneBatches(CONFIG, 4), SceneBatches(CONFIG, 8, seed=3, first=50)
    batches = list(one.in_order(10, 4))
    assert [len(batch["pictures"]) for batch in batches] == [4, 4, 2]
    held = torch.cat([batch["pictures"] for batch in batches])
    assert torch.equal(held, next(other.in_order(10, 10))["pictures"])
    trained = torch.cat([SceneBatches(CONFIG, 256, seed).next_batch()["pictures"] for seed in range(3)])
    assert not {p.numpy().tobytes() for p in held} & {p.numpy().tobytes() for p in trained}
    assert len(np.unique(trained.numpy().reshape(len(trained), -1), axis=0)) == len(trained)


@pytest.mark.parametrize("name", ["batch_size", "seed", "first"])
def test_senseless_numbers_are_refused(name: str):
    values = {"batch_size": 4} | {name: -1}
    with pytest.raises(InputError, match=f"{name} must be at least"):
        SceneBatches(CONFIG, **values)
