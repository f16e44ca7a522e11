"""Two processes with half of each batch compute what one computes with all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from bottega.plots.curves import read_run
from bottega.training.config import TrainingConfig
from bottega.training.loop import train
from bottega.training.validation import HeldOut

PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import torch
torch.set_num_threads(1)
from conftest import Rows, Tiny, TinyConfig
from bottega.training.config import TrainingConfig
from bottega.training.distributed import world_from_environment
from bottega.training.loop import train
from bottega.training.validation import HeldOut

world = world_from_environment()
# Different first weights in each process: those of the first one count.
torch.manual_seed(7 + world.rank)
model = Tiny(TinyConfig())
model.dropout.p = 0.0
rows = Rows(rank=world.rank, world_size=world.size)
train(model, rows, Path(sys.argv[1]), TrainingConfig(**{config!r}), validation=HeldOut(lambda: three(Rows())))
"""
THREE = """
def three(rows):
    rows.position = 10**6
    return [rows.next_batch() for _ in range(3)]
"""
CONFIG = {
    "steps": 20,
    "batch_size": 8,
    "precision": "fp32",
    "warmup_steps": 3,
    "clip": 0.1,
    "validate_every": 10,
    "weight_decay": 0.5,
}


def test_two_processes_equal_one(tmp_path: Path, tiny, rows) -> None:
    program = tmp_path / "program.py"
    text = PROGRAM.format(folder=str(Path(__file__).parent), config=CONFIG)
    program.write_text(text.replace("\nworld =", THREE + "\nworld =", 1))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    command += [
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        "localhost:0",
        str(program),
        str(tmp_path / "two"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]

    def three():
        loader = rows()
        loader.position = 10**6
        return [loader.next_batch() for _ in range(3)]

    model = tiny()
    model.dropout.p = 0.0
    one = train(model, rows(), tmp_path / "one", TrainingConfig(**CONFIG), validation=HeldOut(three))
    mine, theirs = (load_file(tmp_path / run / "latest/model.safetensors") for run in ("one", "two"))
    for name, tensor in mine.items():
        if name != "calls":
            assert (tensor - theirs[name]).norm() <= 1e-5 * tensor.norm(), name
    columns = [read_run(tmp_path / run)["step"] for run in ("one", "two")]
    assert torch.allclose(*(torch.tensor(c["loss"]) for c in columns), rtol=1e-5)
    assert len(columns[1]["step"]) == 20  # one process writes
    state = json.loads((tmp_path / "two/latest/state/state.json").read_text())
    assert state["tokens"] == one.tokens
    assert abs(state["validation"]["loss"] - one.validation["loss"]) <= 1e-5 * one.validation["loss"]
