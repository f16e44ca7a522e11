"""What is settled before the first step: where the run stands, whether it fits, how long it will take."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bottega.errors import InputError, WorkError
from bottega.training import machine
from bottega.training.checkpoints import Run, State, config_of
from bottega.training.config import TrainingConfig, differing
from bottega.training.context import Batch, Batches, to_device
from bottega.training.distributed import World
from bottega.training.progress import duration

ASSUMED_SHARE = 0.5  # of the measured peak, for the estimate of time


def first_state(config: TrainingConfig, model: nn.Module, device: torch.device, world: World) -> State:
    """Return the state of a new run, with the precision decided."""
    precision: str = config.precision
    if precision == "auto":
        bf16 = machine.fastest_precision(device) == "bf16"
        precision = "bf16" if world.first_says(float(bf16), device) else "fp32"
    return State(precision=precision, config=asdict(config), model=config_of(model))


def resumed_state(run: Run, latest: Path, config: TrainingConfig, model: nn.Module) -> State:
    """Return the state in a checkpoint; InputError where it was reached with another configuration."""
    state = run.read_state(latest)
    changed = differing(state.config, asdict(config)) + differing(state.model, config_of(model))
    if changed:
        raise InputError(
            f"{run.out} holds a run with another configuration ({'; '.join(changed)}); "
            "use the same values to go on, or another --out to start anew"
        )
    return state


def peek(batches: Batches, config: TrainingConfig, device: torch.device, world: World) -> Batch:
    """Return the next batch without moving the cursor; InputError where it is not of batch_size."""
    cursor = batches.state_dict()
    batch = to_device(batches.next_batch(), device)
    batches.load_state_dict(cursor)
    rows = len(next(iter(batch.values()))) * world.size
    if rows != config.batch_size:
        raise InputError(f"batches have {rows} sequences over all ranks; batch_size says {config.batch_size}")
    return batch


def require_memory(needed: int, device: torch.device) -> None:
    """Raise WorkError where a run of `needed` bytes would not fit."""
    available = machine.memory_available(device)
    if needed > available:
        raise WorkError(
            f"the run needs about {needed / 1e9:.1f} GB of memory and {available / 1e9:.1f} GB are "
            "available; lower micro_batch_size or take a smaller model"
        )


def expected_seconds(
    config: TrainingConfig, state: State, tokens: int, flops: float | None, peak: float
) -> float | None:
    """Return about how long the rest takes, with `tokens` a step on this process at half the measured `peak`.

    None where neither minutes nor the model's FLOPs a token are known.
    """
    if config.minutes is not None:
        return max(0.0, 60 * config.minutes - state.seconds)
    if flops is None or state.steps is None:
        return None
    return (state.steps - state.step) * tokens * flops / (ASSUMED_SHARE * peak)


def announcement(model: nn.Module, state: State, tokens: int, memory: int, seconds: float | None) -> str:
    """Say in one line what the run is and what it will take."""
    n = sum(parameter.numel() for parameter in model.parameters())
    steps = "" if state.steps is None else f"{state.steps:,} steps of {tokens:,} {state.unit}, "
    took = "" if seconds is None else f", about {duration(seconds)}"
    return f"{n:,} parameters in {state.precision}; {steps}about {memory / 1e9:.1f} GB of memory{took}"


def environment(device: torch.device, world: World) -> dict[str, Any]:
    """Return what the bits of a result depend on, besides the configuration."""
    return {
        "machine": machine.kind(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "processes": world.size,
    }
