"""Several processes training one model: each has its rows of every batch, and they agree on the sums.

`torchrun --nproc-per-node 2 -m bottega train …` starts them. Nothing but sums, a flag and a number of steps
is ever exchanged, so that one process with the same global batch computes the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """The processes of this run: which one this is, and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process draws and writes files."""
        return self.rank == 0

    def add_up(self, tensor: Tensor) -> None:
        """Replace the tensor, in place, by its sum over the processes."""
        if self.size > 1:
            dist.all_reduce(tensor)

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Replace the tensors, in place, by those of the first process."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def first_says(self, value: float, device: torch.device) -> float:
        """Return the first process's number."""
        said = torch.tensor(value, dtype=torch.float64, device=device)
        self.copy_from_first([said])
        return float(said)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether the flag is up in any process."""
        if self.size == 1:
            return flag
        raised = torch.tensor(float(flag), device=device)
        dist.all_reduce(raised)
        return bool(raised)


def world_from_environment() -> World:
    """Return rank and size as torchrun tells them, a world of one without it."""
    return World(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


def local_device() -> torch.device:
    """Return this process's GPU, or the CPU where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started (NCCL between GPUs, else Gloo); leave them at the end."""
    world = world_from_environment()
    mine = world.size > 1 and not dist.is_initialized()
    if mine:
        # Rank 0 validates samples and writes alone; the others wait for it.
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=2))
    try:
        yield world
    finally:
        if mine:
            dist.destroy_process_group()
