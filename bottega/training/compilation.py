"""torch.compile where it pays, eager where it does not or cannot."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
from torch import nn

from bottega.errors import InputError
from bottega.training.config import TrainingConfig
from bottega.training.machine import compiler_works

WORTH_SECONDS = 60.0  # a cold compilation takes up to half a minute on two cores


def units(model: nn.Module) -> list[nn.Module]:
    """Return the modules that the model wants compiled one by one; equal ones share one artefact."""
    named = getattr(model, "compile_units", None)
    return [] if named is None else list(named())


def wanted(config: TrainingConfig, model: nn.Module, device: torch.device, seconds: float | None) -> bool:
    """Decide whether to compile a run that would take `seconds` (None: not known, taken as short).

    Raises InputError where compilation is asked for and the model names nothing to compile.
    """
    if config.compile == "off":
        return False
    if config.compile == "on":
        if not units(model):
            raise InputError("compile is on, but this model names no compile_units; use --compile off")
        return True
    if not units(model) or seconds is None or seconds < WORTH_SECONDS:
        return False
    return importlib.util.find_spec("triton") is not None if device.type == "cuda" else compiler_works()


def compiled(model: nn.Module, rehearse: Callable[[], None]) -> str:
    """Compile the model's units and run `rehearse` once; return "" or, back in eager mode, why it failed."""
    for unit in units(model):
        unit.compile(dynamic=False)
    try:
        rehearse()
    except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
        undo(model)
        return str(error).strip().splitlines()[0]
    return ""


def undo(model: nn.Module) -> None:
    """Leave the model in eager mode."""
    for unit in units(model):
        unit._compiled_call_impl = None
