"""What a run will take, before it starts: memory by counting, time by the machine's measured speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bottega.nn.loss import Loss
from bottega.training.config import TrainingConfig
from bottega.training.context import WHOLE, Batch, loss_of, micro_batches


@dataclass(frozen=True)
class Estimate:
    """Bytes of memory: what is always there, a micro-batch's activations; bytes of one checkpoint."""

    standing: int
    activations: int
    checkpoint: int

    @property
    def memory(self) -> int:
        """Bytes in all."""
        return self.standing + self.activations


def estimate(model: nn.Module, batch: Batch, config: TrainingConfig, dtype: torch.dtype) -> Estimate:
    """Count the bytes of a run with this model and batch.

    Masters, gradients and moments are fp32; Muon and SGD keep one moment (SGD without momentum none), AdamW
    two. Activations are what the backward pass of one row keeps, times the rows of a micro-batch; of a model
    without `loss`, those of the dearest update of its `step`.
    """
    weights = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    one_moment = trained if config.optimizer == "sgd" else 0
    matrices: Any = getattr(model, "matrix_parameters", None)
    if config.optimizer == "muon" and matrices is not None:
        one_moment = sum(p.numel() for p, _ in matrices())
    moments = 8 * (trained - one_moment) + 4 * one_moment
    if config.optimizer == "sgd" and not config.beta1:
        moments = 0
    averages = 4 * weights if config.ema else 0
    standing = 4 * weights + 4 * trained + moments + averages
    if dtype != torch.float32:
        standing += 2 * weights
    activations = _activations(model, batch, config) * torch.empty((), dtype=dtype).element_size() // 4
    return Estimate(standing, activations, 4 * weights + moments + averages)


def _activations(model: nn.Module, batch: Batch, config: TrainingConfig) -> int:
    """Bytes that autograd keeps for the backward pass of a micro-batch, in fp32."""
    counting = _Counting(model, config.micro_batch_size)
    with torch.random.fork_rng(devices=[]), undisturbed(model), torch.enable_grad():
        if hasattr(model, "loss"):
            counting.optimize(WHOLE, partial(loss_of, model), batch)
        else:
            step: Any = model.step
            step(batch, counting)
    return counting.most


class _Counting:
    """Stands in for the context of a `step`: it runs each closure on a row or two, and updates nothing."""

    def __init__(self, model: nn.Module, micro_batch_size: int | None) -> None:
        self.model = model
        self.own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.micro_batch_size = micro_batch_size
        self.most = 0  # bytes of the dearest update

    def optimize(self, name: str, closure: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Count what this update keeps; return the loss on two rows as if the others were like them."""
        rows = len(next(iter(next(micro_batches(batch, self.micro_batch_size)).values())))
        with self._free(name):
            (one, _), (two, loss) = (self._kept(closure, batch, n) for n in (1, 2))
        # What does not grow with the rows is there once.
        self.most = max(self.most, one + (rows - 1) * (two - one))
        all_rows = len(next(iter(batch.values())))
        times = all_rows / min(2, all_rows)
        metrics = {name: value.detach() * times for name, value in loss.metrics.items()}
        return Loss(loss.total.detach() * times, loss.count * times, metrics)

    @contextmanager
    def _free(self, name: str) -> Iterator[None]:
        """Let only the parameters of the part `name` require gradients, as in the step itself."""
        prefix = "" if name == WHOLE else f"{name}."
        named = self.model.named_parameters()
        fixed = [p for n, p in named if p.requires_grad and not n.startswith(prefix)]
        for parameter in fixed:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in fixed:
                parameter.requires_grad_(True)

    def _kept(self, closure: Callable[[Batch], Loss], batch: Batch, rows: int) -> tuple[int, Loss]:
        """Run rows forward and count the tensors that are kept, each storage once, parameters not."""
        seen: dict[int, Tensor] = {}  # by address; held, so that no other takes an address over

        def pack(tensor: Tensor) -> Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = closure({name: tensor[:rows] for name, tensor in batch.items()})
        kept = (tensor for address, tensor in seen.items() if address not in self.own)
        return sum(tensor.untyped_storage().nbytes() for tensor in kept), loss


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put the buffers back afterwards: a rehearsal must leave no trace in running statistics or chains."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, before in buffers:
            buffer.data.copy_(before)


def flops_per_token(model: nn.Module) -> float | None:
    """Return training FLOPs a token, where the model says."""
    says: Any = getattr(model, "flops_per_token", None)
    return None if says is None else float(says())
