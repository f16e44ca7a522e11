"""`ctx.optimize(name, closure, batch)`: one update of one part of a model, however the model learns.

The model's `step(batch, ctx)` says what is optimised and in which order; this says how. A GAN, whole:

    def step(self, batch, ctx):
        d = ctx.optimize("discriminator", lambda b: self.real_or_fake(b), batch)
        g = ctx.optimize("generator", lambda b: self.fooled(b), batch)
        return Loss(d.total, d.count, {"generator": g.total})
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from bottega.errors import InputError
from bottega.nn.loss import Loss
from bottega.training.config import TrainingConfig
from bottega.training.distributed import World
from bottega.training.optimizers import Optimizer
from bottega.training.precision import Weights
from bottega.training.schedules import multiplier

Batch = Mapping[str, Tensor]


@runtime_checkable
class Batches(Protocol):
    """Where batches come from; the cursor (JSON-able) is part of every checkpoint."""

    def next_batch(self) -> Batch:
        """Return the next batch: tensors whose first dimension is this rank's share of the sequences."""

    def state_dict(self) -> dict[str, Any]:
        """Return the cursor."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go where the cursor says."""


WHOLE = "model"  # the part that is all of it


class Part:
    """The trainable parameters of a submodule, with their optimizer and one flat fp32 buffer for their
    gradients.

    One buffer makes the sum over ranks one exchange and the division one pass.
    """

    def __init__(
        self,
        names: list[str],
        weights: Weights,
        matrices: Mapping[str, tuple[int, ...]],
        config: TrainingConfig,
        dtype: torch.dtype,
    ) -> None:
        self.names = names
        masters = {name: weights.masters[name] for name in names}
        sizes = [-(-master.numel() // 16) * 16 for master in masters.values()]  # each begins on a cache line
        self.gradient = torch.zeros(sum(sizes), device=next(iter(masters.values())).device)
        self.slots: dict[nn.Parameter, Tensor] = {}
        gradients: dict[str, Tensor] = {}
        for (name, master), slot in zip(masters.items(), self.gradient.split_with_sizes(sizes), strict=True):
            gradients[name] = slot[: master.numel()].view(master.shape)
            self.slots[weights.parameters[name]] = gradients[name]
        mine = {name: rows for name, rows in matrices.items() if name in masters}
        self.optimizer = Optimizer(masters, gradients, mine, config, dtype)


class Context:
    """What a model's `step` is given: it runs closures and updates the parts that they are for."""

    def __init__(
        self, model: nn.Module, weights: Weights, config: TrainingConfig, world: World, dtype: torch.dtype
    ) -> None:
        self.model, self.weights, self.config, self.world, self.dtype = model, weights, config, world, dtype
        self.parts: dict[str, Part] = {}
        self.multiplier = 1.0  # of the learning rates, for this step
        self.gradient_norms: dict[str, Tensor] = {}
        self.rehearsing = False  # everything but the update: compiles, and shows that a step fits in memory
        self.trainable = {name: p for name, p in weights.parameters.items() if p.requires_grad}
        self._matrices = _matrices(model, weights) if config.optimizer == "muon" else {}
        self._slots: dict[nn.Parameter, Tensor] = {}
        self._filled: set[nn.Parameter] = set()
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(self._collect)  # type: ignore[no-untyped-call]
            for parameter in self.trainable.values()
        ]

    def begin(self, step: int, steps: int | None) -> None:
        """Set the schedule for the update that follows `step` updates."""
        self.multiplier = multiplier(self.config, step, steps)
        self.gradient_norms = {}

    def optimize(self, name: str, closure: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Run `closure` on each micro-batch and update the part `name`: a submodule, or "model" for all.

        While it runs only that part's parameters are free. The gradient is that of the sum of all totals over
        the sum of all counts, over micro-batches and ranks; it is clipped, applied, and the moving average
        follows. Returns the summed loss, detached.
        """
        part = self.part(name)
        sums: list[Tensor] = []
        keys: list[str] = []
        with self._free(part):
            for micro in micro_batches(batch, self.config.micro_batch_size):
                loss = closure(micro)
                loss.total.backward()  # type: ignore[no-untyped-call]
                keys = list(loss.metrics)
                values = [loss.total, loss.count, *loss.metrics.values()]
                sums.append(torch.stack([value.detach().to(torch.float64) for value in values]))
        total = torch.stack(sums).sum(0)
        if not self.rehearsing:
            self.world.add_up(total)
            self._update(name, part, total[1])
        return Loss(total[0], total[1], dict(zip(keys, total[2:], strict=True)))

    def part(self, name: str) -> Part:
        """Return the part of that name; it is made when first asked for."""
        if name not in self.parts:
            prefix = "" if name == WHOLE else f"{name}."
            names = [n for n in self.weights.parameters if n.startswith(prefix) and n in self.trainable]
            if not names:
                raise InputError(f"the model has no trainable parameters under {name!r} to optimise")
            self.parts[name] = Part(names, self.weights, self._matrices, self.config, self.dtype)
        return self.parts[name]

    def _update(self, name: str, part: Part, count: Tensor) -> None:
        self.world.add_up(part.gradient)
        count = count.clamp(min=1).float()
        norms = torch._foreach_norm(list(part.slots.values()))
        norm = torch.linalg.vector_norm(torch.stack(norms)) / count
        clip = self.config.clip or float("inf")
        scale = (clip / (norm + 1e-6)).clamp(max=1.0)
        part.gradient.mul_(scale / count)
        part.optimizer.step(self.multiplier)
        self.weights.refresh(part.names)
        self.weights.average(part.names)
        self.gradient_norms[name] = norm

    @contextmanager
    def _free(self, part: Part) -> Iterator[None]:
        """Let only this part's parameters require gradients, and collect these in its buffer."""
        fixed = [parameter for parameter in self.trainable.values() if parameter not in part.slots]
        for parameter in fixed:
            parameter.requires_grad_(False)
        self._slots, self._filled = part.slots, set()
        try:
            with torch.enable_grad():
                yield
        finally:
            for parameter in fixed:
                parameter.requires_grad_(True)
        for parameter, slot in part.slots.items():
            if parameter not in self._filled:
                slot.zero_()

    def _collect(self, parameter: Tensor) -> None:
        """Move a gradient into its slot as soon as it is complete, so that few are held twice."""
        assert parameter.grad is not None and isinstance(parameter, nn.Parameter)
        slot = self._slots[parameter]
        if parameter in self._filled:
            slot.add_(parameter.grad)
        else:
            slot.copy_(parameter.grad)
            self._filled.add(parameter)
        parameter.grad = None

    def state_dict(self) -> dict[str, Tensor]:
        """Return the optimizers' tensors, under `part/…`."""
        return {
            f"{name}/{key}": tensor
            for name, part in self.parts.items()
            for key, tensor in part.optimizer.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave; the parts are made as they were."""
        for name in dict.fromkeys(key.partition("/")[0] for key in state):
            prefix = f"{name}/"
            mine = {key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)}
            self.part(name).optimizer.load_state_dict(mine)

    def close(self) -> None:
        """Let go of the model: its parameters are plain fp32 again."""
        for hook in self._hooks:
            hook.remove()
        self.weights.release()


def loss_of(model: nn.Module, batch: Batch) -> Loss:
    """Return `model.loss(batch)`: all that the loop needs of a model."""
    loss: Loss = model.loss(batch)  # type: ignore[operator]
    return loss


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch where the model is."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def amount(batch: Batch) -> tuple[int, str]:
    """Return how much a batch holds, and of what: tokens (ids, or source and target), pictures, or rows."""
    named = [batch[name] for name in ("ids", "source", "target") if name in batch]
    if named:
        return sum(ids.numel() for ids in named), "tokens"
    return len(next(iter(batch.values()))), "pictures" if "pictures" in batch else "rows"


def micro_batches(batch: Batch, rows: int | None) -> Iterator[Batch]:
    """Cut a batch along its first dimension into pieces of at most `rows`."""
    n = len(next(iter(batch.values())))
    if rows is None or rows >= n:
        yield batch
        return
    for start in range(0, n, rows):
        yield {name: tensor[start : start + rows] for name, tensor in batch.items()}


def _matrices(model: nn.Module, weights: Weights) -> dict[str, tuple[int, ...]]:
    """The matrices that the model names for Muon, by name, with the rows of the maps that each stacks."""
    named = getattr(model, "matrix_parameters", None)
    if named is None:
        return {}
    names = {parameter: name for name, parameter in weights.parameters.items()}
    return {names[parameter]: rows for parameter, rows in named() if parameter.requires_grad}
