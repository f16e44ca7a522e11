"""What a run does besides stepping: budgets, estimates, refusals, compilation, curves, the display."""

from __future__ import annotations

import io
import json
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors import safe_open
from torch import nn

from bottega.errors import InputError, WorkError
from bottega.nn.loss import Loss
from bottega.plots.curves import read_run
from bottega.text.tokenizer import Tokenizer
from bottega.training import checkpoints
from bottega.training.budget import Stopwatch
from bottega.training.checkpoints import locked
from bottega.training.config import TrainingConfig
from bottega.training.curves import Curves
from bottega.training.estimate import estimate
from bottega.training.events import Notice, SampleEvent, StepEvent, ValidationEvent
from bottega.training.loop import train
from bottega.training.progress import Display, duration
from bottega.training.validation import HeldOut


def config_of(**values: object) -> TrainingConfig:
    defaults = {"steps": 10, "batch_size": 8, "warmup_steps": 2, "precision": "fp32"}
    return TrainingConfig(**(defaults | values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": None}, "exactly one of steps, tokens and minutes; given: none"),
        ({"tokens": 5.0}, "given: steps and tokens"),
        ({"steps": 0}, "steps must be above 0, not 0"),
        ({"batch_size": -1}, "batch_size must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0, not nan"),
        ({"ema": 1.0}, "ema must be at least 0 and below 1"),
        ({"decay_fraction": 1.5}, "decay_fraction must be from 0 to 1"),
    ],
)
def test_a_senseless_configuration_is_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config_of(**values)


def test_a_budget_in_tokens_is_rounded_up_to_steps(tmp_path: Path, tiny, rows) -> None:
    assert train(tiny(), rows(), tmp_path, config_of(steps=None, tokens=801.0)).step == 11  # of 80 tokens


def trained_for_four_seconds(model, rows, out: Path):
    """The result and what was told; the budget is in minutes."""
    told: list[str] = []
    began = time.monotonic()
    config = config_of(steps=None, minutes=4 / 60)
    result = train(model, rows, out, config, on_event=lambda e: told.append(getattr(e, "text", "")))
    assert 2.5 < time.monotonic() - began < 30  # 4 by the stopwatch
    return result, told


def test_a_budget_in_minutes_becomes_steps_that_are_written_down(tmp_path: Path, tiny, rows) -> None:
    class Slow(type(tiny())):
        def loss(self, batch):
            time.sleep(0.02)
            return super().loss(batch)

    torch.manual_seed(0)
    model = Slow(tiny().config)
    result, told = trained_for_four_seconds(model, rows(), tmp_path)
    state = json.loads((tmp_path / "latest/state/state.json").read_text())
    assert state["steps"] == result.step > 30
    assert any("minutes are" in line for line in told)
    events = read_run(tmp_path)["step"]
    assert events["step"][-1] == result.step


def test_a_plan_in_minutes_is_mended_when_the_machine_becomes_faster(tmp_path: Path, tiny, rows) -> None:
    class Hindered(type(tiny())):
        def loss(self, batch):
            time.sleep(0.05 if self.calls < 25 else 0.005)
            return super().loss(batch)

    torch.manual_seed(0)
    model = Hindered(tiny().config)
    result, told = trained_for_four_seconds(model, rows(), tmp_path)
    first, *others = (line for line in told if "minutes are" in line)
    assert int(first.split()[3].replace(",", "")) < 90  # as slow as at first
    assert others and all(line.startswith("the pace has changed") for line in others)
    assert result.step > 120
    assert json.loads((tmp_path / "latest/state/state.json").read_text())["steps"] == result.step


def timed(watch: Stopwatch, config, step: int, seconds: float) -> tuple[int, int] | None:
    watch.time(seconds)
    return watch.plan(config, step)


@pytest.mark.parametrize(
    ("pace", "again"),
    [
        (1.0, 100),  # as planned
        (1.02, 100),  # within what planning can tell
        (0.5, 140),  # twice as fast
        (1.25, 92),  # slower
        (8.0, 80),  # at least half of the decay stays
    ],
)
def test_a_plan_is_mended_by_the_pace_since_it_was_made(pace: float, again: int) -> None:
    watch = Stopwatch(100.5 / 60)
    for _ in range(7):
        watch.time(3.0)
    watch.began -= 60.0
    assert watch.plan(config_of(steps=None, minutes=1.0, validate_every=10), 60) is not None
    assert watch.plan_again(60, 100, 10) == 100  # nothing timed since
    for _ in range(50):
        watch.time(pace)
    assert watch.plan_again(60, 100, 10) == again


@pytest.mark.parametrize(
    ("aside", "validate_every", "decided"),
    [
        (0.0, None, (7 + 60, 7)),  # a second a step; ten validations
        (0.2, None, (7 + 58, 7)),
        (3.0, None, (7 + 54, 31)),  # dear ones have a tenth of the budget: two
        (100.0, None, (7, 7)),  # and the last one always comes
        (5.0, 10, (7 + 40, 10)),  # as often as asked, whatever it costs
    ],
)
def test_the_stopwatch_sets_validations_aside(aside: float, validate_every: int | None, decided) -> None:
    watch = Stopwatch(1.001)
    watch.aside = aside
    config = config_of(steps=None, minutes=1.0, validate_every=validate_every)
    answers = [timed(watch, config, step, 1.0) for step in range(1, 8)]
    assert answers[:6] == [None] * 6  # two to settle, five timed
    assert answers[6] == decided


def test_a_budget_eaten_by_compilation_is_decided_on_one_timed_step() -> None:
    watch = Stopwatch(1.0)
    watch.began -= 30.0
    config = config_of(steps=None, minutes=1.0)
    answers = [timed(watch, config, step, 1.0) for step in range(1, 4)]
    assert answers[:2] == [None, None]
    assert answers[2] is not None and answers[2][0] in (32, 33)


@pytest.mark.parametrize("peak", [1e15, 1.0])
def test_no_share_is_told_of_a_peak_that_the_steps_exceed(
    tmp_path: Path, tiny, rows, monkeypatch, peak
) -> None:
    class Counted(type(tiny())):
        def flops_per_token(self) -> float:
            return 1e6

    monkeypatch.setattr("bottega.training.machine.measured_peak", lambda device, dtype: peak)
    told: list[StepEvent] = []
    model = Counted(tiny().config)
    train(
        model, rows(), tmp_path, config_of(), on_event=lambda e: isinstance(e, StepEvent) and told.append(e)
    )
    expected = [step.tokens_per_second * 1e6 / peak if peak > 1 else None for step in told]
    assert [step.share_of_peak for step in told] == pytest.approx(expected)


@pytest.mark.parametrize("validate_every", [None, 10])
def test_a_budget_spent_before_a_step_was_timed_ends_the_run(validate_every: int | None) -> None:
    watch = Stopwatch(1.0)
    watch.began -= 61.0
    config = config_of(steps=None, minutes=1.0, validate_every=validate_every)
    assert timed(watch, config, 1, 61.0) == (1, validate_every or 1)


def test_memory_is_counted_before_it_is_taken(tiny, rows) -> None:
    model, batch = tiny(), rows().next_batch()
    n = sum(parameter.numel() for parameter in model.parameters())
    matrices = 48 * 16 + 16 * 48
    muon = estimate(model, batch, config_of(), torch.float32)
    assert muon.standing == 8 * n + 8 * (n - matrices) + 4 * matrices
    adamw = estimate(model, batch, config_of(optimizer="adamw", ema=0.9), torch.bfloat16)
    assert adamw.standing == 8 * n + 8 * n + 4 * n + 2 * n
    assert estimate(model, batch, config_of(optimizer="sgd"), torch.float32).standing == 8 * n + 4 * n
    # At least the widest activation and the logits of all rows, at most a few dozen times the hidden width.
    assert 8 * 10 * (48 + 13) * 4 < muon.activations < 8 * 10 * 48 * 4 * 30
    one, two = (estimate(model, batch, config_of(micro_batch_size=n), torch.float32) for n in (1, 2))
    assert muon.activations - two.activations == 6 * (two.activations - one.activations)
    assert model.calls == 0


def test_a_run_that_does_not_fit_is_refused_before_it_starts(tmp_path: Path, tiny, rows, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda path: usage(10, 10, 10))
    with pytest.raises(WorkError, match="GB are free"):
        train(tiny(), rows(), tmp_path / "disk", config_of())
    monkeypatch.undo()
    monkeypatch.setattr("bottega.training.machine.memory_available", lambda device: 1000)
    with pytest.raises(WorkError, match="GB of memory"):
        train(tiny(), rows(), tmp_path / "memory", config_of())


def test_a_folder_that_cannot_be_written_is_reported_first(tmp_path: Path, tiny, rows) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match=r"cannot be written .*another --out"):
        train(tiny(), rows(), tmp_path / "file" / "run", config_of())


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, tiny, rows, monkeypatch) -> None:
    save, calls = checkpoints.save_file, []

    def full(tensors, path):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        save(tensors, path)

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(WorkError, match=r"step 8 could not be written .*No space left.* goes on from it"):
        train(tiny(), rows(), tmp_path, config_of(save_every=4))
    monkeypatch.undo()
    assert (tmp_path / "latest").resolve().name == "step-4"
    assert not list(tmp_path.glob(".step*")) and not (tmp_path / "step-8").exists()
    assert train(tiny(), rows(), tmp_path, config_of(save_every=4)).step == 10


def test_two_processes_cannot_train_one_run(tmp_path: Path, tiny, rows) -> None:
    pytest.importorskip("fcntl")
    with locked(tmp_path), pytest.raises(InputError, match="another process"):
        train(tiny(), rows(), tmp_path, config_of())


def test_a_diverged_run_stops_and_saves_nothing_of_it(tmp_path: Path, tiny, rows) -> None:
    class Explodes(type(tiny())):
        def loss(self, batch):
            loss = super().loss(batch)
            return Loss(loss.total * float("inf") if self.calls > 6 else loss.total, loss.count)

    with pytest.raises(WorkError, match="at step 7 the loss is inf"):
        train(Explodes(tiny().config), rows(), tmp_path, config_of(save_every=2))
    assert (tmp_path / "latest").resolve().name == "step-6"


def test_a_batch_of_another_size_is_refused(tmp_path: Path, tiny, rows) -> None:
    with pytest.raises(InputError, match="batches have 4 sequences over all ranks; batch_size says 8"):
        train(tiny(), rows(4), tmp_path, config_of())


def test_a_checkpoint_is_complete_and_in_fp32(tmp_path: Path, tiny, rows) -> None:
    tokenizer = tmp_path / "tokenizer"
    Tokenizer.train(["to be or not to be"], 265).save(tokenizer)
    run = tmp_path / "run"
    result = train(tiny(), rows(), run, config_of(precision="bf16"), tokenizer=tokenizer)
    names = {
        str(path.relative_to(result.checkpoint)) for path in result.checkpoint.rglob("*") if path.is_file()
    }
    model = {"config.json", "model.safetensors", "README.md", "tokenizer.json", "tokenizer_config.json"}
    assert names == model | {"state/state.json", "state/optimizer.safetensors"}
    end = json.loads((result.checkpoint / "config.json").read_text())["eos_token_id"]
    assert end == Tokenizer.load(result.checkpoint).end_of_text
    with safe_open(result.checkpoint / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F32"}  # noqa: SIM118
    assert "| steps | 10 |" in (result.checkpoint / "README.md").read_text()


class Unit(nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 3)

    def forward(self, x):
        return torch.tanh(super().forward(x)) * 2


class Compiled(nn.Module):
    """Declares a unit to compile."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.unit = Unit()

    def compile_units(self):
        return [self.unit]

    def loss(self, batch):
        return Loss((self.unit(batch["x"]) - batch["x"]).square().sum(), torch.tensor(len(batch["x"])))


class Ones:
    def next_batch(self):
        return {"x": torch.ones(8, 3)}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_compilation_that_fails_falls_back_in_one_line(tmp_path: Path, monkeypatch) -> None:
    told: list[str] = []
    config = config_of(compile="on")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    # A compiler that is there and always fails.
    with torch._inductor.config.patch({"cpp.cxx": ("false",)}):
        result = train(
            Compiled(), Ones(), tmp_path, config, on_event=lambda e: told.append(getattr(e, "text", ""))
        )
    assert result.step == 10
    assert [line for line in told if "torch.compile failed" in line and "\n" not in line]
    assert not json.loads((tmp_path / "latest/state/state.json").read_text())["compiled"]


def test_compile_on_needs_something_to_compile(tmp_path: Path, tiny, rows) -> None:
    with pytest.raises(InputError, match="names no compile_units"):
        train(tiny(), rows(), tmp_path, config_of(compile="on"))


@pytest.mark.slow
def test_compiled_steps_compute_what_eager_ones_do(tmp_path: Path) -> None:
    eager, compiled = Compiled(), Compiled()
    train(eager, Ones(), tmp_path / "eager", config_of(compile="off"))
    train(compiled, Ones(), tmp_path / "compiled", config_of(compile="on"))
    assert json.loads((tmp_path / "compiled/latest/state/state.json").read_text())["compiled"]
    assert torch.allclose(eager.unit.weight, compiled.unit.weight, atol=1e-5)


def test_held_out_scores_the_whole_split(tiny, rows) -> None:
    model, loader = tiny().eval(), rows()
    batches = [loader.next_batch() for _ in range(3)]
    values = HeldOut(lambda: batches, n_bytes=100)(model)
    losses = [model.loss(batch) for batch in batches]
    total = sum(loss.total.item() for loss in losses)
    assert values["loss"] == pytest.approx(total / sum(loss.count.item() for loss in losses))
    assert values["bits_per_byte"] == pytest.approx(total / 0.6931471805599453 / 100)


def test_held_out_averages_the_metrics_that_are_wanted() -> None:
    class Guesser(nn.Linear):
        def loss(self, batch: dict[str, torch.Tensor]) -> Loss:
            right = batch["right"]
            return Loss(right.sum() * 2.0, torch.tensor(len(right)), {"accuracy": right.sum()})

    batches = [{"right": torch.tensor([1, 0, 1])}, {"right": torch.tensor([0])}]
    assert HeldOut(lambda: batches, metrics=("accuracy",))(Guesser(1, 1)) == {"loss": 1.0, "accuracy": 0.5}
    assert HeldOut(lambda: batches)(Guesser(1, 1)) == {"loss": 1.0}


def test_curves_after_the_checkpoint_are_cut_off_on_resume(tmp_path: Path) -> None:
    def step(number: int) -> StepEvent:
        return StepEvent(number, 9, 1.0 / number, 1e-3, 1.0, 8, 1.0, None, 1.0, 1.0)

    curves = Curves(tmp_path, 0, 0)
    curves(step(1))
    curves(step(2))
    position = curves.position()
    curves(step(3))
    curves.close()
    assert read_run(tmp_path)["step"]["step"] == [1, 2, 3]
    curves = Curves(tmp_path, position, 2)
    curves(step(3))
    curves(step(4))
    curves.close()
    assert read_run(tmp_path)["step"]["step"] == [1, 2, 3, 4]
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_the_display_speaks_plainly_where_there_is_no_terminal(tmp_path: Path) -> None:
    out = io.StringIO()
    with Display(Console(file=out, width=100)) as show:
        show(Notice("starting"))
        for step in range(1, 50):
            show(StepEvent(step, 50, 2.5, 1e-3, 1.0, 800, 1000.0, 0.63, 9.0, 61.0))
        show(ValidationEvent(50, 9.0, {"loss": 2.25, "bits_per_byte": 1.5}, True))
    lines = out.getvalue().splitlines()
    assert lines[0] == "starting"
    assert lines[1] == "step 1/50 · loss 2.500 · 1,000 tokens/s · 63% of the peak · 1:01 left"
    assert lines[2] == "step 50 · held out: loss 2.2500, bits per byte 1.5000 (best)"
    assert len(lines) == 3


def test_the_display_draws_all_numbers_in_a_terminal() -> None:
    out = io.StringIO()
    with Display(Console(file=out, width=120, force_terminal=True)) as show:
        show(StepEvent(1, None, 2.5, 1e-3, 1.0, 800, 1000.0, 0.63, 9.0, None))
        show(ValidationEvent(1, 9.0, {"loss": 2.25, "bits_per_byte": 1.5}, True))
        show(SampleEvent(1, "Once upon [a] time"))
    text = out.getvalue()
    for piece in (
        "1/… steps · timing",
        "63%",
        "1,000",
        "held-out bits per byte",
        "1.500",
        "Once upon [a] time",
    ):
        assert piece in text, piece


def test_durations() -> None:
    assert [duration(seconds) for seconds in (9.4, 59.7, 187.0, 7387.0)] == ["9 s", "1:00", "3:07", "2:03:07"]
