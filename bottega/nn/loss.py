"""What a model's `loss` returns, and the cross-entropy of a language model."""
from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

IGNORE = -100  # a target that is not scored; torch's own default


@dataclass(frozen=True)
class Loss:
    """A sum with its count, so that accumulation, masks, ranks and whole-split validation agree.

    `total` is a scalar in nats that carries the gradient, `count` a scalar: how many targets were scored.
    `metrics` holds further sums over the same count, for the log only.
    """

    total: Tensor
    count: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)

    @property
    def mean(self) -> Tensor:
        """Nats per scored target."""
        return self.total / self.count
