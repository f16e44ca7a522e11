"""What a model's `loss` returns, and the cross-entropy of a language model in chunks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

IGNORE = -100  # a target that is not scored; torch's own default
CHUNK = 2**21  # logits held at a time: 8 MB in fp32, about what stays in a CPU's cache


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


def cross_entropy_of_head(
    hidden: Float[Tensor, "n width"], weight: Float[Tensor, "vocabulary width"], targets: Int[Tensor, " n"]
) -> Loss:
    """Sum of -log softmax(hidden · weightᵀ)[target] over the targets that are not IGNORE.

    The logits never exist as a whole: each chunk of rows is turned into its part of the loss and, at once, of
    the gradient, so that memory does not grow with the batch and nothing is computed twice. Softmax is in fp32.
    """
    total = _ChunkedCrossEntropy.apply(hidden, weight, targets)  # type: ignore[no-untyped-call]
    return Loss(total, (targets != IGNORE).sum())


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        rows = max(1, CHUNK // weight.shape[0])
        wanted = hidden.requires_grad or weight.requires_grad
        d_hidden = torch.empty_like(hidden) if wanted else None
        # Summed over the chunks in fp32: in bf16 the sum of many small terms would lose the late ones.
        d_weight = torch.zeros_like(weight, dtype=torch.float32) if wanted else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            h, target = hidden[part], targets[part]
            scored = target != IGNORE
            index = target.clamp(min=0)[:, None]
            log_probs = torch.log_softmax(h @ weight.T, -1, dtype=torch.float32)
            total -= (log_probs.gather(1, index)[:, 0] * scored).sum()
            if d_hidden is not None and d_weight is not None:
                d_logits = log_probs.exp_()  # softmax minus one-hot, in the place of the log-probabilities
                d_logits.scatter_add_(1, index, torch.full_like(index, -1, dtype=torch.float32))
                d_logits = d_logits.mul_(scored[:, None]).to(hidden.dtype)
                d_hidden[part] = d_logits @ weight
                d_weight += d_logits.T @ h
        if wanted:
            ctx.save_for_backward(d_hidden, d_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden * grads[0].to(d_hidden.dtype), (d_weight * grads[0]).to(d_hidden.dtype), None
