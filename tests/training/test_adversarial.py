"""Models with a `step` and without a `loss` are trained, estimated, stopped and resumed as any other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bottega.data.picture_batches import PictureBatches
from bottega.data.pictures import Pictures
from bottega.data.toys import ToyBatches, ring
from bottega.errors import WorkError
from bottega.models.dcgan import DCGAN, DCGANConfig
from bottega.models.gan import GAN, GANConfig
from bottega.models.point_gan import PointGAN, PointGANConfig
from bottega.models.wgan_gp import WGANGP, WGANGPConfig
from bottega.training.config import TrainingConfig
from bottega.training.context import Context
from bottega.training.distributed import World
from bottega.training.estimate import estimate, undisturbed
from bottega.training.events import Notice, StepEvent
from bottega.training.loop import train
from bottega.training.precision import Weights

PICTURES = Pictures(
    np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), np.uint8), np.zeros(40, np.int64)
)
MAKERS: dict[str, Callable[[], nn.Module]] = {
    "gan": lambda: GAN(GANConfig(1, 8, 8, latent=4, hidden=8, k=2)),
    "dcgan": lambda: DCGAN(DCGANConfig(1, 8, 8, latent=4, maps=4)),
    "wgan-gp": lambda: WGANGP(WGANGPConfig(1, 8, 8, latent=4, maps=4, n_critic=2)),
}


def config_of(**values: object) -> TrainingConfig:
    defaults = {"steps": 12, "batch_size": 8, "optimizer": "adamw", "learning_rate": 1e-3, "beta1": 0.5,
                "clip": 0.0, "weight_decay": 0.0, "warmup_steps": 0, "precision": "fp32"}  # fmt: skip
    return TrainingConfig(**(defaults | values))  # type: ignore[arg-type]


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MAKERS[name]()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("values", [{}, {"precision": "bf16", "ema": 0.9, "micro_batch_size": 3}])
def test_a_run_that_breaks_off_and_goes_on_ends_with_the_same_weights(
    tmp_path: Path, name: str, values: dict[str, object]
) -> None:
    def die(event: object) -> None:
        if isinstance(event, StepEvent) and event.step == 8:
            raise ConnectionAbortedError  # the last checkpoint is that of step 5

    config = config_of(save_every=5, **values)
    train(made(name), PictureBatches(PICTURES, 8), tmp_path / "whole", config)
    with pytest.raises(ConnectionAbortedError):
        train(made(name), PictureBatches(PICTURES, 8), tmp_path / "broken", config, on_event=die)
    assert (tmp_path / "broken/latest").resolve().name == "step-5"
    train(made(name), PictureBatches(PICTURES, 8), tmp_path / "broken", config)
    for file in ("model.safetensors", "state/optimizer.safetensors"):
        whole, resumed = (load_file(tmp_path / run / "latest" / file) for run in ("whole", "broken"))
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(tensor, resumed[key]) for key, tensor in whole.items())
    assert not (tmp_path / "whole/best").exists()  # without a loss on held-out data none is the best


PROGRAM = """
import sys, time, torch
from pathlib import Path
torch.set_num_threads(1)
from bottega.data.toys import ToyBatches, ring
from bottega.models.point_gan import PointGAN, PointGANConfig
from bottega.training.config import TrainingConfig
from bottega.training.loop import train
torch.manual_seed(0)
model = PointGAN(PointGANConfig(2, hidden=8, k=2))
config = TrainingConfig(steps=40, batch_size=8, optimizer="adamw", precision="fp32", save_every=3)
train(model, ToyBatches(ring(), 8), Path(sys.argv[1]), config, on_event=lambda _: time.sleep(0.01))
"""


def test_killed_by_the_system_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed = subprocess.Popen([*command, str(tmp_path / "run")], env=environment)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run/latest").exists():
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.01)
    killed.kill()  # SIGKILL: nothing of ours runs after it
    assert killed.wait() == -signal.SIGKILL
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for run in ("run", "whole"):
            torch.manual_seed(0)
            model = PointGAN(PointGANConfig(2, hidden=8, k=2))
            config = TrainingConfig(steps=40, batch_size=8, optimizer="adamw", precision="fp32", save_every=3)
            train(model, ToyBatches(ring(), 8), tmp_path / run, config)
    finally:
        torch.set_num_threads(threads)
    resumed, whole = (load_file(tmp_path / run / "latest/model.safetensors") for run in ("run", "whole"))
    assert all(torch.equal(tensor, whole[key]) for key, tensor in resumed.items())
    lines = [json.loads(line) for line in (tmp_path / "run/curves.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["event"] == "step"] == list(range(1, 41))


@pytest.mark.parametrize("name", MAKERS)
def test_its_memory_is_counted_and_its_buffers_stay(name: str) -> None:
    model = made(name).train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    batch = PictureBatches(PICTURES, 8).next_batch()
    state = torch.get_rng_state()
    found = {
        rows: estimate(model, batch, config_of(micro_batch_size=rows), torch.float32) for rows in (1, 2, None)
    }
    n = sum(p.numel() for p in model.parameters())
    assert found[1].standing == 16 * n
    assert 8 * 8 * 4 < found[1].activations < found[2].activations < found[None].activations
    # k or n_critic minibatches are never held at once: of the batch's 8 rows an update sees 4 (DCGAN: all 8).
    rows = 8 if name == "dcgan" else 4
    one, two = found[1].activations, found[2].activations
    assert found[None].activations == one + (rows - 1) * (two - one)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_rehearsal_leaves_no_trace() -> None:
    """What is done before a compiled run begins: a whole step, but for the updates."""
    model = made("dcgan").train()
    config = config_of()
    context = Context(model, Weights(model, torch.float32), config, World(), torch.float32)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    context.rehearsing = True
    with undisturbed(model):
        model.step(PictureBatches(PICTURES, 8).next_batch(), context)
        moved = [key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])]
        assert moved and all("running" in key for key in moved)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_its_metrics_and_memory_are_told(tmp_path: Path) -> None:
    events: list[object] = []
    train(made("dcgan"), PictureBatches(PICTURES, 8), tmp_path, config_of(steps=2), on_event=events.append)
    [*_, last] = (event for event in events if isinstance(event, StepEvent))
    assert last.metrics.keys() == {"generator", "real", "fake", "accuracy"}
    assert 0 < last.metrics["real"] < 1 and 0 <= last.metrics["accuracy"] <= 1
    assert any(isinstance(event, Notice) and "of memory" in event.text for event in events)
    assert json.loads((tmp_path / "latest/state/state.json").read_text())["best"] is None


def test_a_run_that_diverges_stops_with_a_sound_checkpoint(tmp_path: Path) -> None:
    class Diverging(DCGAN):
        def noise(self, n: int) -> torch.Tensor:
            return super().noise(n) * float("inf")

    torch.manual_seed(0)
    model = Diverging(DCGANConfig(1, 8, 8, latent=4, maps=4))
    with pytest.raises(WorkError, match=r"at step 1 the loss is nan.*diverged"):
        train(model, PictureBatches(PICTURES, 8), tmp_path, config_of())
