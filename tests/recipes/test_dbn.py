"""A deep belief network as stages of the one loop: greedy, resumed, fine-tuned."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bottega.data.picture_batches import PictureBatches
from bottega.data.pictures import open_pictures
from bottega.errors import InputError, Stopped
from bottega.models.dbn import DBN, DBNConfig
from bottega.models.dbn_classifier import DBNClassifier
from bottega.models.load import load
from bottega.models.rbm import RBM
from bottega.recipes.dbn import PRESETS, StateBatches, train_dbn, train_stages
from bottega.training.events import Event, StepEvent, ValidationEvent

SHAPE = DBNConfig(layers=(12, 8))
TRAINING = replace(PRESETS["dbn"].training, steps=12, batch_size=50, precision="fp32", validate_every=12)


def trained(out: Path, seen: list[Event] | None = None, layers: tuple[int, ...] = (12, 8)) -> DBN:
    """Without the samples, which take longer than all the rest."""
    shape, listener = DBNConfig(1, 8, 8, layers), None if seen is None else seen.append
    return train_stages(shape, *open_pictures(["embedded"]), out, TRAINING, listener, draw=False)


def test_each_stage_is_a_run_of_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bottega.models.rbm.SAMPLING_STEPS", 20)  # how well it draws is no matter here
    seen: list[Event] = []
    said = train_dbn(SHAPE, ("embedded",), tmp_path / "run", TRAINING, seen.append)
    dbn = load(tmp_path / "run")
    assert isinstance(dbn, DBN) and "2 stages on 1,619 pictures" in said
    assert dbn.config.layers == (12, 8) and dbn.picture_shape == (1, 8, 8)
    assert [event.step for event in seen if isinstance(event, StepEvent)] == [*range(1, 13), *range(1, 13)]
    assert len([event for event in seen if isinstance(event, ValidationEvent)]) == 4
    for number, machine in enumerate(dbn.machines, start=1):
        stage = load(tmp_path / "run" / f"stage-{number}")
        assert isinstance(stage, RBM)
        assert all(torch.equal(a, b) for a, b in zip(stage.parameters(), machine.parameters(), strict=True))
        assert sorted(path.name for path in (tmp_path / "run" / f"stage-{number}" / "samples").iterdir()) == [
            f"step-{step:06d}.png" for step in (0, 12)
        ]


def test_stages_and_classifiers_learn_in_bf16_too(tmp_path: Path) -> None:
    taught, held = open_pictures(["embedded"])
    brief = replace(TRAINING, steps=60, precision="bf16", validate_every=60)
    dbn = train_stages(DBNConfig(1, 8, 8, (60,)), taught, held, tmp_path, brief, draw=False)
    assert dbn.machines[0].weight.dtype == torch.float32  # the masters
    dbn.save_pretrained(tmp_path)
    preset = PRESETS["dbn-classifier"]
    training = replace(
        preset.training,
        model=str(tmp_path),
        steps=100,
        precision="bf16",
        validate_every=100,
        learning_rate=0.01,
    )
    line = preset.run(preset.shape, ("embedded",), tmp_path / "classifier", training, None)
    assert float(line.split("accuracy ")[1].split()[0]) > 0.6  # of ten classes


def test_a_stopped_stage_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    """Stopped within the second stage; the same command leaves the first as it is."""
    whole = trained(tmp_path / "whole")
    steps = 0

    def stop(event: Event) -> None:
        nonlocal steps
        steps += isinstance(event, StepEvent)
        if steps == 17:
            steps += 1
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match="stopped after step 5"):
        train_stages(
            DBNConfig(1, 8, 8, (12, 8)),
            *open_pictures(["embedded"]),
            tmp_path / "run",
            TRAINING,
            stop,
            draw=False,
        )
    seen: list[Event] = []
    again = trained(tmp_path / "run", seen)
    assert [event.step for event in seen if isinstance(event, StepEvent)] == list(range(6, 13))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_a_further_stage_goes_onto_a_finished_stack(tmp_path: Path) -> None:
    first = trained(tmp_path)
    seen: list[Event] = []
    taller = trained(tmp_path, seen, (12, 8, 5))
    assert len([event for event in seen if isinstance(event, StepEvent)]) == 12
    assert torch.equal(taller.machines[1].weight, first.machines[1].weight)
    with pytest.raises(InputError, match="another configuration"):
        trained(tmp_path, layers=(12, 9))


def test_states_follow_from_the_position() -> None:
    taught, _ = open_pictures(["embedded"])
    torch.manual_seed(0)
    below = [RBM(one) for one in DBNConfig(1, 8, 8, (12, 8)).machine_configs()]

    def batches(seed: int = 0) -> StateBatches:
        return StateBatches(PictureBatches(taught, 50, seed, binary=True), below)

    first = batches()
    taken = [first.next_batch()["pictures"] for _ in range(3)]
    assert taken[0].shape == (50, 1, 1, 8) and set(taken[0].unique().tolist()) == {0.0, 1.0}
    again = batches()
    again.load_state_dict({**first.state_dict(), "step": 2})
    assert torch.equal(again.next_batch()["pictures"], taken[2])
    assert not torch.equal(batches(seed=1).next_batch()["pictures"], taken[0])
    mean = batches().mean()
    rows = torch.cat([batch["pictures"] for batch in batches().in_order(500)])
    assert len(rows) == len(taught) and torch.allclose(mean, rows.mean(0))
    assert torch.equal(rows, torch.cat([batch["pictures"] for batch in batches().in_order(500)]))


def test_another_models_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bottega-rbm"}')
    with pytest.raises(InputError, match="another kind of model"):
        train_dbn(SHAPE, ("embedded",), tmp_path, TRAINING, None)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stack")
    taught, held = open_pictures(["embedded"])
    training = replace(TRAINING, steps=600, batch_size=100, validate_every=600)
    train_stages(DBNConfig(1, 8, 8, (100, 100)), taught, held, out, training, draw=False).save_pretrained(out)
    return out


def test_fine_tuning_beats_random_weights_with_few_labels(stack: Path, tmp_path: Path) -> None:
    """From 60 labelled digits, three choices of them: the stack has seen all, without their labels."""
    taught, held = open_pictures(["embedded"])
    preset = PRESETS["dbn-classifier"]
    shares: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(3):
        few = taught.where(np.random.default_rng(seed).permutation(len(taught))[:60])
        np.savez(
            tmp_path / "few.npz",
            train_images=few.pixels,
            train_labels=few.labels,
            test_images=held.pixels,
            test_labels=held.labels,
        )
        for forget in shares:
            out = tmp_path / f"{forget}-{seed}"
            training = replace(
                preset.training,
                model=str(stack),
                forget=forget,
                seed=seed,
                steps=200,
                batch_size=60,
                validate_every=200,
            )
            line = preset.run(preset.shape, (str(tmp_path / "few.npz"),), out, training, None)
            shares[forget].append(float(line.split("accuracy ")[1].split()[0]))
            assert isinstance(load(out), DBNClassifier)
    assert np.mean(shares[False]) > np.mean(shares[True]) + 0.02


def test_what_cannot_be_fine_tuned_is_refused(stack: Path, tmp_path: Path) -> None:
    preset = PRESETS["dbn-classifier"]

    def finetune(data: str, model: str) -> None:
        preset.run(preset.shape, (data,), tmp_path / "out", replace(preset.training, model=model), None)

    with pytest.raises(InputError, match="--model RUN"):
        finetune("embedded", "")
    with pytest.raises(InputError, match="no deep belief network"):
        finetune("embedded", str(stack / "stage-1"))
    taught, _ = open_pictures(["embedded"])
    np.savez(tmp_path / "one.npz", images=taught.pixels, labels=np.full(len(taught), 3))
    with pytest.raises(InputError, match="one class"):
        finetune(str(tmp_path / "one.npz"), str(stack))
    np.savez(tmp_path / "bare.npz", images=taught.pixels)
    with pytest.raises(InputError, match="no labels"):
        finetune(str(tmp_path / "bare.npz"), str(stack))
    np.savez(tmp_path / "small.npz", images=taught.pixels[:, :, :6], labels=taught.labels)
    with pytest.raises(InputError, match="layers and pictures"):
        finetune(str(tmp_path / "small.npz"), str(stack))


def test_the_stack_has_learnt_the_digits(stack: Path) -> None:
    """Two layers up and down again a digit is nearer to itself than its best single guess, the mean digit."""
    taught, held = open_pictures(["embedded"])
    shown = torch.from_numpy(held.floats())
    error = (load(stack).reconstruct(shown) - shown).square().mean()
    assert error < 0.6 * (torch.from_numpy(taught.floats()).mean(0) - shown).square().mean()
