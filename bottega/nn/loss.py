"""What a model's `loss` returns, and the cross-entropy of a language model in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

IGNORE = -100  # a target that is not scored; torch's own default
OUTER_CHUNK = 2**25  # gradients of logits held at a time: one product with the head for all of them
INNER_CHUNK = 2**19  # logits held at a time: 2 MB in fp32, about what stays in a core's cache …
ROWS = 128  # … but never fewer rows than keep a matrix product efficient


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
    hidden: Float[Tensor, "n width"],
    weight: Float[Tensor, "vocabulary width"],
    targets: Int[Tensor, " n"],
    label_smoothing: float = 0.0,
) -> Loss:
    """Sum of -log softmax(hidden · weightᵀ)[target] over the targets that are not IGNORE.

    With `label_smoothing` ε (Szegedy et al. 2016, section 7) a target is no longer one token: it is that
    token with 1 - ε, and ε is spread evenly over the vocabulary.

    The logits never exist as a whole: each chunk of rows is turned into its part of the loss and, at once, of
    the gradient: memory does not grow with the batch and nothing is computed twice. Softmax is in fp32.
    """
    wanted = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    total = _ChunkedCrossEntropy.apply(hidden, weight, targets, label_smoothing, wanted)  # type: ignore[no-untyped-call]
    return Loss(total, (targets != IGNORE).sum())


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float, wanted: bool
    ) -> Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        d_hidden = torch.empty_like(hidden) if wanted else None
        d_weight: Tensor | None = None
        for h, target, out in _parts(OUTER_CHUNK // len(weight), hidden, targets, d_hidden):
            d_logits = h.new_empty(len(h), len(weight)) if wanted else None
            for part, of_part, into in _parts(max(ROWS, INNER_CHUNK // len(weight)), h, target, d_logits):
                total += _nats_and_gradient(part @ weight.T, of_part, into, smoothing)
            if d_logits is not None:
                torch.mm(d_logits, weight, out=out)
                # Between the outer chunks the sum is in fp32: in bf16 the late terms would be lost.
                term = (d_logits.T @ h).float()
                d_weight = term if d_weight is None else d_weight.add_(term)
        if wanted:
            ctx.save_for_backward(d_hidden, d_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        d_hidden, d_weight = ctx.saved_tensors
        by_hidden, by_weight = (
            d_hidden * grads[0].to(d_hidden.dtype),
            (d_weight * grads[0]).to(d_hidden.dtype),
        )
        return by_hidden, by_weight, None, None, None


def _parts(rows: int, *tensors: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Slices of `rows` rows of each tensor together; None stays None."""
    first = tensors[0]
    assert first is not None
    for start in range(0, len(first), max(1, rows)):
        yield tuple(None if x is None else x[start : start + max(1, rows)] for x in tensors)


def _nats_and_gradient(logits: Tensor, targets: Tensor, d_logits: Tensor | None, smoothing: float) -> Tensor:
    """The chunk's nats; softmax minus target, 0 where nothing is scored, goes to `d_logits`."""
    scored = (targets != IGNORE)[:, None]
    index = targets.clamp(min=0)[:, None]
    log_probs = torch.log_softmax(logits, -1, dtype=torch.float32)
    of_target = log_probs.gather(1, index)
    nats = -(of_target * scored).sum()
    if smoothing:
        nats = (1 - smoothing) * nats - smoothing * (log_probs.mean(1, keepdim=True) * scored).sum()
    if d_logits is not None:
        torch.exp(log_probs, out=log_probs)
        # p - 1 of the target through expm1: rounding p first would lose it where p is near 1.
        log_probs.scatter_(1, index, of_target.expm1() + smoothing)
        if smoothing:
            log_probs.sub_(smoothing / logits.shape[1])
        torch.mul(log_probs, scored, out=d_logits)
    return nats
