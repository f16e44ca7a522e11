"""The presets of the Boltzmann machine: trained, watched, resumed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bottega.data.pictures import open_pictures
from bottega.evaluation.pictures import binary
from bottega.models.links import set_link
from bottega.models.load import load
from bottega.models.rbm import RBM
from bottega.recipes.rbm import PRESETS, train_rbm
from bottega.training.events import Event, ValidationEvent

SMALL = 8  # hidden units: Z is summed up


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_on_the_embedded_digits(name: str, tmp_path: Path) -> None:
    preset, events = PRESETS[name], list[Event]()
    training = replace(
        preset.training, steps=2, validate_every=2, precision="bf16" if name == "rbm-pcd" else "auto"
    )
    line = train_rbm(replace(preset.shape, n_hidden=SMALL), ("embedded",), tmp_path, training, events.append)
    assert "held-out log p:" in line and "exact" in line and "±" not in line
    rbm = load(tmp_path)
    assert isinstance(rbm, RBM) and rbm.picture_shape == (1, 8, 8) and rbm.config.n_chains == 100
    values = [event.values for event in events if isinstance(event, ValidationEvent)]
    assert len(values) == 2 and all(value.keys() == {"loss", "reconstruction", "gap"} for value in values)
    assert all(value["loss"] > 0 and 0 < value["reconstruction"] < 1 for value in values)
    assert len(list((tmp_path / "samples").glob("*.png"))) == 2


def test_it_learns_the_embedded_digits(tmp_path: Path) -> None:
    """Better than the mean picture alone, and than it was at first."""
    preset = PRESETS["rbm"]
    training = replace(preset.training, steps=600, validate_every=600, learning_rate=0.05)
    train_rbm(replace(preset.shape, n_hidden=12), ("embedded",), tmp_path, training, None)
    rbm = load(tmp_path)
    _, held = open_pictures(["embedded"])
    shown = binary(held)
    alone = torch.nn.functional.binary_cross_entropy_with_logits(
        rbm.base.expand(len(shown), -1), shown.flatten(1), reduction="sum"
    )
    assert rbm.score(shown).mean > -float(alone) / len(shown) + 2


def test_chains_and_all_go_on_bit_for_bit(tmp_path: Path) -> None:
    preset = PRESETS["rbm-pcd"]
    shape = replace(preset.shape, n_hidden=SMALL)
    training = replace(preset.training, steps=6, save_every=3, validate_every=6)
    train_rbm(shape, ("embedded",), tmp_path, training, None)
    whole = load(tmp_path / "step-6").state_dict()
    set_link(tmp_path / "latest", "step-3")
    shutil.rmtree(tmp_path / "step-6")
    before = load(tmp_path / "step-3").state_dict()
    train_rbm(shape, ("embedded",), tmp_path, training, None)
    again = load(tmp_path / "step-6").state_dict()
    assert set(again) == {"weight", "visible_bias", "hidden_bias", "base", "chains"}
    assert all(torch.equal(tensor, whole[name]) for name, tensor in again.items())
    assert not torch.equal(before["chains"], whole["chains"])
