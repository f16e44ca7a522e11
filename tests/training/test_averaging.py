"""The mean of checkpoints: of the right ones, exact, whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bottega.errors import InputError
from bottega.training.averaging import average
from bottega.training.config import TrainingConfig
from bottega.training.loop import train


@pytest.fixture
def run(tmp_path: Path, tiny: Callable[..., torch.nn.Module], rows: Callable[..., object]) -> Path:
    config = TrainingConfig(steps=6, batch_size=8, precision="fp32", save_every=2, keep=3)
    train(tiny(), rows(), tmp_path / "run", config)
    train(tiny(), rows(), tmp_path / "run", replace(config, keep=3))  # finished: changes nothing
    return tmp_path / "run"


def test_the_mean_of_the_last(run: Path, tmp_path: Path) -> None:
    chosen = average(run, 2, tmp_path / "mean")
    assert [folder.name for folder in chosen] == ["step-4", "step-6"]
    four, six, mean = (load_file(f / "model.safetensors") for f in (*chosen, tmp_path / "mean"))
    assert mean.keys() == six.keys()
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, (four[name] + six[name]) / 2)
    assert (tmp_path / "mean" / "config.json").read_text() == (chosen[-1] / "config.json").read_text()
    assert any(not torch.equal(mean[name], six[name]) for name in mean)


def test_what_cannot_be_averaged(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds 3 checkpoints, and 4 were asked for"):
        average(run, 4, tmp_path / "mean")
    with pytest.raises(InputError, match="last must be at least 1"):
        average(run, 0, tmp_path / "mean")
    with pytest.raises(InputError, match="is there already"):
        average(run, 2, run)
    weights = run / "step-4" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])
    with pytest.raises(InputError, match="step-4"):
        average(run, 3, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
    (run / "step-4" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="different models"):
        average(run, 3, tmp_path / "mean")
