"""What a run will take, before it starts: memory by counting, time by the machine's measured speed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bottega.training.config import TrainingConfig
from bottega.training.context import Batch, loss_of, micro_batches


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

    Masters, gradients and moments are fp32; Muon and SGD keep one moment, AdamW two. Activations are what the
    backward pass of one row keeps, times the rows of a micro-batch; a model without `loss` counts none.
    """
    weights = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    one_moment = trained if config.optimizer == "sgd" else 0
    matrices: Any = getattr(model, "matrix_parameters", None)
    if config.optimizer == "muon" and matrices is not None:
        one_moment = sum(p.numel() for p, _ in matrices())
    moments = 8 * (trained - one_moment) + 4 * one_moment
    averages = 4 * weights if config.ema else 0
    standing = 4 * weights + 4 * trained + moments + averages
    if dtype != torch.float32:
        standing += 2 * weights
    rows = len(next(iter(next(micro_batches(batch, config.micro_batch_size)).values())))
    one, two = (_saved(model, batch, n, dtype) for n in (1, 2))
    # What does not grow with the rows is there once.
    return Estimate(standing, one + (rows - 1) * (two - one), 4 * weights + moments + averages)


def _saved(model: nn.Module, batch: Batch, rows: int, dtype: torch.dtype) -> int:
    """Run rows forward and count the tensors that autograd keeps, each storage once, parameters not."""
    if not hasattr(model, "loss"):
        return 0
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with torch.random.fork_rng(devices=[]), undisturbed(model), torch.enable_grad(), hooks:
        kept = loss_of(model, {name: tensor[:rows] for name, tensor in batch.items()})
    del kept  # it kept the storages apart while they were counted
    size = torch.empty((), dtype=dtype).element_size()
    return sum(n for pointer, n in seen.items() if pointer not in own) * size // 4


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
