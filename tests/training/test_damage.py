"""What was damaged, moved or lost between two starts of a run is said in one line, never worked around."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bottega.data import shards
from bottega.data.documents import Document
from bottega.errors import InputError, WorkError
from bottega.plots.curves import read_run
from bottega.recipes.gpt import gpt_shape
from bottega.text.tokenizer import Tokenizer
from bottega.training import checkpoints
from bottega.training.config import TrainingConfig
from bottega.training.curves import Curves
from bottega.training.events import Event, SampleEvent, StepEvent
from bottega.training.loop import train
from bottega.training.pretrain import pretrain

CONFIG = TrainingConfig(steps=6, batch_size=8, warmup_steps=2, precision="fp32", save_every=2)


class Cut(Exception):
    """The end of a start, as a kill would be."""


@pytest.fixture
def started(tmp_path: Path, tiny, rows) -> Path:
    """A run that was cut off in step 3, with its checkpoint of step 2."""

    def cut(event: Event) -> None:
        if isinstance(event, StepEvent) and event.step == 3:
            raise Cut

    with pytest.raises(Cut):
        train(tiny(), rows(), tmp_path / "run", CONFIG, on_event=cut)
    return tmp_path / "run"


def test_undamaged_it_goes_on(started: Path, tiny, rows) -> None:
    assert train(tiny(), rows(), started, CONFIG).step == 6


@pytest.mark.parametrize("damage", ["absent", "truncated", "a tensor missing", "a tensor misshapen"])
def test_a_damaged_optimizer_state_is_refused(started: Path, tiny, rows, damage: str) -> None:
    path = started / "step-2" / "state" / "optimizer.safetensors"
    tensors = load_file(path)
    name = max(tensors, key=lambda name: tensors[name].numel())
    if damage == "absent":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "a tensor missing":
        save_file({key: tensor for key, tensor in tensors.items() if key != name}, path)
    else:
        save_file(tensors | {name: torch.zeros(3, 5, 7)}, path)
    with pytest.raises(InputError, match=r"step-2 is damaged .* set latest to another step-N") as caught:
        train(tiny(), rows(), started, CONFIG)
    assert "\n" not in str(caught.value)


def test_a_lost_checkpoint_does_not_start_the_run_over(started: Path, tiny, rows) -> None:
    shutil.rmtree(started / "step-2")
    before = (started / "curves.jsonl").read_bytes()
    with pytest.raises(InputError, match="names a checkpoint that is gone"):
        train(tiny(), rows(), started, CONFIG)
    assert (started / "curves.jsonl").read_bytes() == before


def test_a_runs_own_checkpoints_count_as_room(started: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", ("total", "used", "free"))
    held = sum(path.stat().st_size for path in (started / "step-2").rglob("*") if path.is_file())
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _path: usage(0, 0, 1000))
    checkpoints.Run(started).prepare(held + 1000)
    with pytest.raises(WorkError, match="are free"):
        checkpoints.Run(started).prepare(held + 1001)


def test_any_character_may_be_in_a_sample(tmp_path: Path) -> None:
    """Some of Unicode's line ends end no line of a file."""
    curves = Curves(tmp_path, 0, 0)
    curves(SampleEvent(0, "a\u2028b\x85c\x0bd\x1ce"))
    curves(StepEvent(1, 1, 2.5, 0.1, 1.0, 10, 5.0, None, 1.0, 0.0))
    curves.close()
    assert read_run(tmp_path)["step"]["loss"] == [2.5]
    assert [json.loads(line)["event"] for line in (tmp_path / "curves.jsonl").open()] == ["sample", "step"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Shards whose two parts have tokenizers of equal size that are not equal."""
    texts = {
        "train": "the cat sat on the mat and purred. " * 60,
        "heldout": "wir lesen ein altes Buch. " * 60,
    }
    for part, text in texts.items():
        shards.prepare([Document(text, part)], Tokenizer.train([text], 270), tmp_path / "data" / part)
    return tmp_path / "data"


def test_parts_of_different_tokenizers_are_refused(data: Path, tmp_path: Path) -> None:
    shape = replace(gpt_shape("modern-1m"), context_length=32)
    with pytest.raises(InputError, match="different tokenizers"):
        pretrain(shape, data, tmp_path / "run", CONFIG)


def test_a_model_beyond_the_memory_is_refused_before_it_is_made(data: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="of memory"):
        pretrain(replace(gpt_shape("gpt3-175b"), context_length=32), data, tmp_path / "run", CONFIG)
