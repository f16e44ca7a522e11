"""fp32 masters and what the model computes with: themselves in fp32, copies in bf16 otherwise.

The copies are cast once a step rather than at every use, as autocast would; on a CPU that is a good part of a
small model's step. Everything that learns lives in the masters: optimizer, moving average and checkpoints see
fp32 only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class Weights:
    """A model's parameters by name, with their fp32 masters and, where `ema` > 0, the masters' moving
    average.

    The model's own parameters are turned to `dtype` in place; `release` turns them back into the masters.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, ema: float = 0.0) -> None:
        self.parameters: dict[str, nn.Parameter] = dict(model.named_parameters())  # a tied one once
        self.decay = ema
        self.masters: dict[str, Tensor] = {n: p.detach().float() for n, p in self.parameters.items()}
        self.averages: dict[str, Tensor] = {n: m.clone() for n, m in self.masters.items()} if ema else {}
        for name, parameter in self.parameters.items():
            parameter.data = self.masters[name].to(dtype)  # in fp32 this is the master itself

    def refresh(self, names: Iterable[str]) -> None:
        """Bring the copies up to their masters, after an update."""
        pairs = [(self.parameters[name].data, self.masters[name]) for name in names]
        pairs = [(copy, master) for copy, master in pairs if copy.data_ptr() != master.data_ptr()]
        if pairs:
            torch._foreach_copy_([copy for copy, _ in pairs], [master for _, master in pairs])

    def average(self, names: Iterable[str]) -> None:
        """Move the averages towards the masters."""
        if self.averages:
            names = list(names)
            averages, masters = ([of[n] for n in names] for of in (self.averages, self.masters))
            torch._foreach_lerp_(averages, masters, 1 - self.decay)

    def load(self, masters: Mapping[str, Tensor]) -> None:
        """Take the masters from a checkpoint whose model is their average."""
        for name, master in self.masters.items():
            master.copy_(masters[name])
        self.refresh(self.parameters)

    @property
    def best(self) -> dict[str, Tensor]:
        """What is validated and saved: the averages where there are any, else the masters."""
        return self.averages or self.masters

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """Lend the averages to the model, in its working precision."""
        lent = {n: average.to(self.parameters[n].dtype) for n, average in self.averages.items()}
        with self._swapped(lent):
            yield

    @contextmanager
    def in_full(self) -> Iterator[None]:
        """Lend the model what a checkpoint holds, in fp32."""
        with self._swapped(self.best):
            yield

    def release(self) -> None:
        """Leave the model with the fp32 weights that a checkpoint would hold."""
        for name, tensor in self.best.items():
            self.parameters[name].data = tensor

    @contextmanager
    def _swapped(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        working = {name: self.parameters[name].data for name in tensors}
        for name, tensor in tensors.items():
            self.parameters[name].data = tensor
        try:
            yield
        finally:
            for name, tensor in working.items():
                self.parameters[name].data = tensor
