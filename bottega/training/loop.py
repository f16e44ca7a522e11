"""The one loop: it owns when; the model owns what.

`train` takes any module with `loss(batch) -> Loss`; one that learns otherwise overrides `step(batch, ctx)`.
Killed at any step and called again with the same arguments, it ends with the same weights, bit for bit.
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bottega.errors import Stopped, WorkError
from bottega.nn.loss import Loss
from bottega.training import budget, compilation, machine, start
from bottega.training.checkpoints import Run, card, damaged, load_weights, locked, read_tensors
from bottega.training.config import TrainingConfig, differing
from bottega.training.context import WHOLE, Batch, Batches, Context, amount, loss_of, to_device
from bottega.training.curves import Curves
from bottega.training.distributed import World, joined
from bottega.training.estimate import estimate, flops_per_token, undisturbed
from bottega.training.events import (
    CheckpointEvent,
    Event,
    Listener,
    Notice,
    SampleEvent,
    StepEvent,
    ValidationEvent,
)
from bottega.training.interrupts import Interrupts, listening
from bottega.training.precision import DTYPES, Weights
from bottega.training.schedules import depends_from
from bottega.training.validation import Validation

Sample = Callable[[nn.Module, int], str]  # what a model makes at a step: a text to look at


@dataclass(frozen=True)
class Result:
    """What a run came to: its last folder, and the last values on the held-out split."""

    checkpoint: Path
    step: int
    tokens: int
    seconds: float
    validation: dict[str, float] = field(default_factory=dict)


def train(
    model: nn.Module,
    batches: Batches,
    out: Path,
    config: TrainingConfig,
    *,
    validation: Validation | None = None,
    sample: Sample | None = None,
    tokenizer: Path | None = None,
    on_event: Listener | None = None,
) -> Result:
    """Train `model` in the run `out`, or go on with it where it stands; return when its budget is spent.

    `batches` gives `config.batch_size` sequences a step over all ranks. `validation(model)` returns values on
    a held-out split, of which `loss` decides what is best; `sample(model, step)` a text to look at.
    `tokenizer` is a folder whose files go into every checkpoint. Afterwards the model holds the weights of
    the last checkpoint, in fp32.

    Raises InputError where the run in `out` was started with another configuration; WorkError where disk or
    memory do not suffice or the loss is no longer a number; Stopped after Ctrl-C, with everything saved.
    """
    device = next(model.parameters()).device
    machine.keep_freed_memory()
    with ExitStack() as stack:
        world, interrupts = stack.enter_context(joined(device)), stack.enter_context(listening())
        if world.writes:
            stack.enter_context(locked(out))
        training = _Training(model, batches, out, config, world, interrupts, on_event)
        training.validation, training.sample, training.tokenizer = validation, sample, tokenizer
        stack.callback(training.close)
        return training.run()


class _Training:
    """One call of `train`."""

    validation: Validation | None
    sample: Sample | None
    tokenizer: Path | None

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        out: Path,
        config: TrainingConfig,
        world: World,
        interrupts: Interrupts,
        on_event: Listener | None,
    ) -> None:
        self.model, self.batches, self.config = model, batches, config
        self.world, self.interrupts = world, interrupts
        self.device = next(model.parameters()).device
        self.listeners: list[Listener] = [on_event] if on_event is not None and world.writes else []
        self.run_folder = Run(out)
        self.context: Context | None = None
        self.curves: Curves | None = None
        self.recent: deque[tuple[int, float]] = deque(maxlen=20)  # tokens and seconds of the last steps
        self.stopwatch = budget.Stopwatch(config.minutes or 0.0)
        self.flops = flops_per_token(model)
        self.peak = 0.0

    # Setting up

    def run(self) -> Result:
        run = self.run_folder
        latest = run.latest()
        if latest:
            self.state = start.resumed_state(run, latest, self.config, self.model)
        else:
            self.state = start.first_state(self.config, self.model, self.device, self.world)
        if latest and self.state.step == self.state.steps:
            load_weights(self.model, latest)
            self._emit(Notice(f"{run.out} is finished: {self.state.step:,} steps"))
            return self._result(latest)
        self._prepare(latest)
        if not latest:
            self._validate()
        return self._result(self._steps())

    def _prepare(self, latest: Path | None) -> None:
        state, config, world = self.state, self.config, self.world
        dtype = DTYPES[state.precision]
        if latest:
            load_weights(self.model, latest)
            self.batches.load_state_dict(state.cursor)
        batch = start.peek(self.batches, config, self.device, world)
        needs = estimate(self.model, batch, config, dtype)
        start.require_memory(needs.memory, self.device)
        if world.writes:
            self.run_folder.prepare(needs.checkpoint * (config.keep + 2))
        self.weights = Weights(self.model, dtype, config.ema)
        if latest and config.ema:
            masters = read_tensors(latest, "masters")
            with _state_of(latest):
                self.weights.load(masters)
        world.copy_from_first([*self.weights.masters.values(), *self.weights.averages.values()])
        world.copy_from_first(self.model.buffers())
        self.weights.refresh(self.weights.parameters)
        self.context = Context(self.model, self.weights, config, world, dtype)
        if latest:
            moments = read_tensors(latest, "optimizer")
            with _state_of(latest):
                self.context.load_state_dict(moments)
        if world.writes:
            self.curves = Curves(self.run_folder.out, state.curves, state.step)
            self.listeners.append(self.curves)
        if self.flops is not None:
            self.peak = machine.measured_peak(self.device, dtype)
        tokens, state.unit = amount(batch)
        state.steps = state.steps or budget.steps_of(config, tokens * world.size)
        if state.steps is not None and state.validate_every is None:
            state.validate_every = budget.validate_every(config, state.steps)
        self.stopwatch.budget -= state.seconds
        seconds = start.expected_seconds(config, state, tokens, self.flops, self.peak)
        said = start.announcement(self.model, state, tokens * world.size, needs.memory, seconds)
        self._emit(Notice(said))
        self.model.train()
        self._compile(batch, seconds, resumed=latest is not None)
        self._check_environment(resumed=latest is not None)

    def _compile(self, batch: Batch, seconds: float | None, *, resumed: bool) -> None:
        state, world, began = self.state, self.world, time.perf_counter()
        wanted = state.compiled
        if not resumed:
            wanted = compilation.wanted(self.config, self.model, self.device, seconds)
            wanted = bool(world.first_says(float(wanted), self.device))
        if wanted:
            why = compilation.compiled(self.model, partial(self._rehearse, batch))
            wanted = not world.any(bool(why), self.device)
            if wanted:
                self._emit(Notice(f"compiled in {time.perf_counter() - began:.0f} s"))
            else:
                compilation.undo(self.model)
                self._emit(Notice(f"torch.compile failed, so the run goes on without it: {why}"))
        if resumed and state.compiled != wanted:
            self._emit(Notice("the run was compiled before: from here on it is not the same bit for bit"))
        state.compiled = wanted
        state.seconds += time.perf_counter() - began

    def _rehearse(self, batch: Batch) -> None:
        """Take a step without the update and without a trace."""
        assert self.context is not None
        self.context.rehearsing = True
        try:
            with undisturbed(self.model):
                self._learn(batch)
        finally:
            self.context.rehearsing = False

    def _check_environment(self, *, resumed: bool) -> None:
        now = start.environment(self.device, self.world)
        changed = differing(self.state.environment, now) if resumed else []
        if changed:
            text = "; ".join(changed)
            self._emit(Notice(f"resumed under another setting ({text}): no longer the same bit for bit"))
        self.state.environment = now

    # Stepping

    def _steps(self) -> Path:
        """Step until the budget is spent; return the last checkpoint."""
        self.saved_at = time.monotonic()
        while True:
            self.stopwatch.time(self._step())
            state = self.state
            planned = self._plan() if state.steps is None else self._plan_again(state.steps)
            last = state.steps is not None and state.step >= state.steps
            every = state.validate_every
            improved = self._validate() if last or (every and state.step % every == 0) else False
            stop = self.world.any(self.interrupts.raised, self.device)
            by_step = self.config.save_every is not None and state.step % self.config.save_every == 0
            by_clock = time.monotonic() - self.saved_at >= self.config.save_seconds
            if last or stop or planned or improved or by_step or by_clock:
                folder = self._save(best=improved)
                if last:
                    return folder
            if stop:
                raise Stopped(
                    f"stopped after step {state.step:,} and saved in {self.run_folder.out}; "
                    "the same command goes on from there"
                )

    def _step(self) -> float:
        assert self.context is not None
        began, state = time.perf_counter(), self.state
        # Seeded anew at each step: no generator's state is ever saved, and who else draws disturbs nothing.
        _seed(self.config.seed, state.step, self.world.rank, self.device)
        batch = to_device(self.batches.next_batch(), self.device)
        self.context.begin(state.step, state.steps)
        loss = self._learn(batch)
        value = float(loss.mean)
        norm = max(float(norm) for norm in self.context.gradient_norms.values())
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise WorkError(
                f"at step {state.step + 1:,} the loss is {value} and the gradient's norm {norm}: the run has "
                "diverged; its last checkpoint is sound; a lower learning_rate needs another --out"
            )
        seconds = time.perf_counter() - began
        tokens = amount(batch)[0] * self.world.size
        state.step, state.tokens, state.seconds = (
            state.step + 1,
            state.tokens + tokens,
            state.seconds + seconds,
        )
        self.recent.append((tokens, seconds))
        self._emit(self._step_event(value, norm, {k: float(v / loss.count) for k, v in loss.metrics.items()}))
        return seconds

    def _learn(self, batch: Batch) -> Loss:
        step: Any = getattr(self.model, "step", None)
        if step is not None:
            loss: Loss = step(batch, self.context)
            return loss
        assert self.context is not None
        return self.context.optimize(WHOLE, partial(loss_of, self.model), batch)

    def _step_event(self, loss: float, norm: float, metrics: dict[str, float]) -> StepEvent:
        assert self.context is not None
        state = self.state
        tokens, seconds = (sum(values) for values in zip(*self.recent, strict=True))
        speed = tokens / seconds
        left = None if state.steps is None else (state.steps - state.step) * seconds / len(self.recent)
        rate = self.config.learning_rate * self.context.multiplier
        return StepEvent(
            state.step,
            state.steps,
            loss,
            rate,
            norm,
            state.tokens,
            speed,
            self._share_of_peak(speed),
            state.seconds,
            left,
            metrics,
            state.unit,
        )

    def _share_of_peak(self, speed: float) -> float | None:
        """Return it, or None where it is unknown: above 1, the peak was measured beside other work."""
        if self.flops is None or not self.peak:
            return None
        share = speed / self.world.size * self.flops / self.peak
        return share if share <= 1 else None

    def _plan(self) -> bool:
        """Turn minutes into steps once enough have been timed; return whether they have become some."""
        planned = self.stopwatch.plan(self.config, self.state.step)
        steps, every = (int(self.world.first_says(float(n), self.device)) for n in planned or (-1, -1))
        if steps < 0:
            return False
        self.state.steps, self.state.validate_every = steps, every
        self._emit(Notice(f"{self.config.minutes:g} minutes are {steps:,} steps on this machine"))
        return True

    def _plan_again(self, steps: int) -> bool:
        """Where the machine has become faster or slower, mend the plan before the first weight depends on it.

        Return whether it has changed. From there on only steps count.
        """
        state = self.state
        if self.config.minutes is None or state.step != depends_from(self.config, steps):
            return False
        again = self.stopwatch.plan_again(state.step, steps, state.validate_every or steps)
        state.steps = int(self.world.first_says(float(again), self.device))
        if state.steps == steps:
            return False
        self._emit(Notice(f"the pace has changed: {self.config.minutes:g} minutes are {state.steps:,} steps"))
        return True

    # Looking and keeping

    def _validate(self) -> bool:
        """Validate and sample; return whether this is the best so far."""
        if self.validation is None and self.sample is None:
            return False
        began, state, improved = time.monotonic(), self.state, False
        _seed(self.config.seed, 0, self.world.rank, self.device)
        self.model.eval()
        with torch.no_grad(), self.weights.evaluated(), torch.compiler.set_stance("force_eager"):
            if self.validation is not None:
                values = dict(self.validation(self.model))
                state.validation = values
                improved = state.best is None or values["loss"] < state.best["loss"]
                if improved:
                    state.best = {"step": state.step, "loss": values["loss"]}
                self._emit(ValidationEvent(state.step, state.seconds, values, improved))
            if self.sample is not None and self.world.writes:
                self._emit(SampleEvent(state.step, self.sample(self.model, state.step)))
        self.model.train()
        self.stopwatch.aside = time.monotonic() - began
        return improved

    def _save(self, *, best: bool) -> Path:
        assert self.context is not None
        state, folder = self.state, self.run_folder.out / f"step-{self.state.step}"
        if self.world.writes:
            assert self.curves is not None
            state.curves, state.cursor = self.curves.position(), self.batches.state_dict()
            tensors: dict[str, Mapping[str, Tensor]] = {"optimizer": self.context.state_dict()}
            if self.config.ema:
                tensors["masters"] = self.weights.masters
            with self.weights.in_full():
                folder = self.run_folder.save(
                    state,
                    self.model,
                    tensors,
                    tokenizer=self.tokenizer,
                    card=card(state),
                    best=best,
                    keep=self.config.keep,
                )
            self._emit(CheckpointEvent(state.step, folder))
        self.saved_at = time.monotonic()
        return folder

    def _result(self, folder: Path) -> Result:
        state = self.state
        return Result(folder, state.step, state.tokens, state.seconds, state.validation)

    def _emit(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)

    def close(self) -> None:
        """Leave the model plain: eager, fp32."""
        compilation.undo(self.model)
        if self.context is not None:
            self.context.close()
        if self.curves is not None:
            self.curves.close()


def _seed(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Seed every generator for one step, each rank apart."""
    mixed = int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0]) >> 1
    if device.type == "cpu":
        # torch.manual_seed notes the call's traceback for each accelerator that is not in use: 0.2 ms a step.
        torch.default_generator.manual_seed(mixed)
    else:
        torch.manual_seed(mixed)
    random.seed(mixed)
    np.random.seed(mixed & 0xFFFFFFFF)


@contextmanager
def _state_of(folder: Path) -> Iterator[None]:
    """Say of a state that does not fit that it is damaged."""
    try:
        yield
    except (KeyError, RuntimeError) as error:
        raise damaged(folder, " ".join(str(error).split())) from None
