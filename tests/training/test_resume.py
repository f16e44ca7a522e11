"""Killed at any step and started again, a run ends with the same weights as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bottega.errors import InputError, Stopped
from bottega.training.config import TrainingConfig
from bottega.training.events import StepEvent
from bottega.training.loop import train
from bottega.training.validation import HeldOut

# What the killed process runs. Argument 1 is the run, 2 the configuration as JSON, 3 seconds a step.
PROGRAM = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, {folder!r})
import torch
torch.set_num_threads(1)
from conftest import Rows, Tiny, TinyConfig
from bottega.training.config import TrainingConfig
from bottega.training.events import StepEvent
from bottega.training.loop import train
from bottega.training.validation import HeldOut

def held_out():
    rows = Rows()
    rows.position = 10**6
    return [rows.next_batch()]

out, config, pause = Path(sys.argv[1]), TrainingConfig(**json.loads(sys.argv[2])), float(sys.argv[3])
torch.manual_seed(7)
model = Tiny(TinyConfig())
train(model, Rows(), out, config, validation=HeldOut(held_out), on_event=lambda event: time.sleep(pause))
"""


def start(out: Path, config: dict[str, object], pause: float = 0.0) -> subprocess.Popen[bytes]:
    program = PROGRAM.format(folder=str(Path(__file__).parent))
    command = [sys.executable, "-c", program, str(out), json.dumps(config), str(pause)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})


@contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def held_out(rows) -> list[dict[str, torch.Tensor]]:
    loader = rows()
    loader.position = 10**6
    return [loader.next_batch()]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_killed_three_times_it_ends_with_the_same_weights(tmp_path: Path, precision: str, tiny, rows) -> None:
    ema = 0.9 if precision == "bf16" else 0.0
    config = {"steps": 60, "batch_size": 8, "micro_batch_size": 3, "precision": precision, "ema": ema}
    config |= {"save_every": 7, "warmup_steps": 5, "validate_every": 20}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with one_thread():
        train(tiny(), rows(), whole, TrainingConfig(**config), validation=HeldOut(lambda: held_out(rows)))
    chance = random.Random(precision)
    for _ in range(3):
        process = start(killed, config, pause=0.02)
        before = (killed / "latest").resolve() if killed.exists() else None
        deadline = time.monotonic() + 60
        while (killed / "latest").resolve() == before or not (killed / "latest").exists():
            assert time.monotonic() < deadline and process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        time.sleep(chance.random() * 0.2)
        process.kill()  # SIGKILL: nothing of ours runs after it
        assert process.wait() == -signal.SIGKILL
    assert start(killed, config).wait() == 0
    for name in ("model.safetensors", "state/optimizer.safetensors"):
        undisturbed, resumed = (load_file(run / "latest" / name) for run in (whole, killed))
        assert undisturbed.keys() == resumed.keys()
        for key, tensor in undisturbed.items():
            assert torch.equal(tensor, resumed[key]), key
    states = [json.loads((run / "latest/state/state.json").read_text()) for run in (whole, killed)]
    for name in ("step", "steps", "tokens", "best", "cursor", "validation"):
        assert states[0][name] == states[1][name]
    told = [
        [json.loads(line) for line in (run / "curves.jsonl").read_text().splitlines()]
        for run in (whole, killed)
    ]
    losses = [[(line["step"], line["loss"]) for line in lines if line["event"] == "step"] for lines in told]
    assert losses[0] == losses[1]  # no step twice, none missing
    assert [step for step, _ in losses[1]] == list(range(1, 61))
    assert not list(killed.glob(".step-*"))


def config_of(**values: object) -> TrainingConfig:
    defaults = {"steps": 30, "batch_size": 8, "warmup_steps": 5, "precision": "fp32", "learning_rate": 0.01}
    return TrainingConfig(**(defaults | values))  # type: ignore[arg-type]


def test_ctrl_c_saves_and_the_same_call_goes_on(tmp_path: Path, tiny, rows) -> None:
    def interrupt(event: object) -> None:
        if isinstance(event, StepEvent) and event.step == 11:
            signal.raise_signal(signal.SIGINT)

    whole = tiny()
    train(whole, rows(), tmp_path / "whole", config_of())
    model = tiny()
    with pytest.raises(Stopped, match="after step 11 and saved"):
        train(model, rows(), tmp_path / "run", config_of(), on_event=interrupt)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    model = tiny()
    result = train(model, rows(), tmp_path / "run", config_of())
    assert result.step == 30
    for mine, other in zip(whole.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(mine, other)


def test_another_configuration_is_refused_by_name(tmp_path: Path, tiny, rows) -> None:
    train(tiny(), rows(), tmp_path, config_of())
    with pytest.raises(InputError, match=r"learning_rate: 0.01, now 0.02.*another --out"):
        train(tiny(), rows(), tmp_path, config_of(learning_rate=0.02))
    train(tiny(), rows(), tmp_path, config_of(keep=5, save_every=3))  # what no weight depends on may change


def test_a_finished_run_is_recognised_and_loaded(tmp_path: Path, tiny, rows) -> None:
    first = tiny()
    done = train(first, rows(), tmp_path, config_of())
    again = tiny()
    events: list[object] = []
    result = train(again, rows(), tmp_path, config_of(), on_event=events.append)
    assert result == done
    assert len(events) == 1
    assert torch.equal(first.hidden.weight, again.hidden.weight)


def test_another_number_of_threads_warns_in_one_line(tmp_path: Path, tiny, rows) -> None:
    def interrupt(event: object) -> None:
        if isinstance(event, StepEvent) and event.step == 3:
            signal.raise_signal(signal.SIGTERM)

    told: list[str] = []
    with one_thread():
        with pytest.raises(Stopped):
            train(tiny(), rows(), tmp_path, config_of(), on_event=interrupt)
        torch.set_num_threads(2)
        config = config_of()
        train(tiny(), rows(), tmp_path, config, on_event=lambda e: told.append(getattr(e, "text", "")))
    assert [line for line in told if "threads: 1, now 2" in line and "\n" not in line]


def test_only_the_last_few_and_the_best_are_kept(tmp_path: Path, tiny, rows) -> None:
    worse_from_10 = iter([5.0, 3.0, *range(10, 50)])

    def validation(model: object) -> dict[str, float]:
        return {"loss": float(next(worse_from_10))}

    train(tiny(), rows(), tmp_path, config_of(validate_every=5, save_every=5), validation=validation)
    assert {path.name for path in tmp_path.glob("step-*")} == {"step-5", "step-25", "step-30"}
    assert (tmp_path / "best").resolve().name == "step-5"
    assert (tmp_path / "latest").resolve().name == "step-30"


def test_saving_and_validating_change_nothing(tmp_path: Path, tiny, rows) -> None:
    plain, busy = tiny(), tiny()
    train(plain, rows(), tmp_path / "plain", config_of(precision="bf16"))

    def noisy(model: object, step: int) -> str:
        return str(torch.rand(5).sum())

    held_out = HeldOut(lambda: [rows().next_batch()])
    config = config_of(precision="bf16", validate_every=2, save_every=1)
    train(busy, rows(), tmp_path / "busy", config, validation=held_out, sample=noisy)
    for mine, other in zip(plain.parameters(), busy.parameters(), strict=True):
        assert torch.equal(mine, other)
