"""Feed-forward layers whose activation has the same bits for a token in any company.

Torch computes what is left over at the end of a tensor, and of each thread's part of it, one by one, and with
other bits than what fills a vector: GELU's tanh form and SiLU of a token depend on how many tokens there are.
Its exponential, sums, products and quotients do not.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.models.gpt import GPT, MLP, Block

ELEMENTS = 2**17  # computed together: the passes over them then find them in the cache


def steady(model: GPT) -> None:
    """Replace the feed-forward layers of a model on a CPU; other devices compute each element alone."""
    if model.tok_emb.weight.device.type == "cpu":
        for block in model.blocks:
            assert isinstance(block, Block)
            block.mlp = SteadyMLP(block.mlp)  # type: ignore[assignment]


class SteadyMLP(nn.Module):
    """An MLP of `models.gpt` with its activation in steady operations."""

    def __init__(self, mlp: MLP) -> None:
        super().__init__()
        self.kind, self.up, self.down = mlp.kind, mlp.up, mlp.down

    def forward(self, x: Tensor) -> Tensor:
        """Widen, bend, narrow: (..., width) to (..., width)."""
        x = self.up(x)
        if self.kind == "gelu":  # by the error function, which torch computes alike everywhere
            return self.down(F.gelu(x))
        bend = _swiglu if self.kind == "swiglu" else _gelu_tanh
        rows = torch.split(x.flatten(0, -2), max(1, ELEMENTS // x.shape[-1]))
        y = bend(rows[0]) if len(rows) == 1 else torch.cat([bend(part) for part in rows])
        return self.down(y.view(*x.shape[:-1], -1))


def _gelu_tanh(x: Tensor) -> Tensor:
    """x · sigmoid(2u) with u = √(2/π) (x + 0.044715 x³), which is x · (1 + tanh u) / 2."""
    negative = (x * x).mul_(-0.07135481627159602).sub_(1.5957691216057308).mul_(x)  # -2u
    return x / negative.exp_().add_(1)


def _swiglu(x: Tensor) -> Tensor:
    gate, x = x.chunk(2, -1)
    return gate.neg().exp_().add_(1).reciprocal_().mul_(gate).mul_(x)
