"""Batch norm (Ioffe & Szegedy 2015) of maps, or of single numbers, that may be in bf16."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

MOMENTUM = 0.1  # of the running statistics


class BatchNorm(nn.Module):
    """Batch norm whose weights and statistics stay in fp32 whatever the maps are in; it counts no batches."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(maps)), nn.Parameter(torch.zeros(maps))
        self.register_buffer("running_mean", torch.zeros(maps))
        self.register_buffer("running_var", torch.ones(maps))

    def forward(self, x: Float[Tensor, "n maps *sides"]) -> Float[Tensor, "n maps *sides"]:
        """Each map over the batch at mean 0 and deviation 1, then scaled and shifted as it was learnt."""
        weight, bias = self.weight.float(), self.bias.float()
        # A single number has no deviation: the running statistics stand in.
        by_batch = self.training and x.numel() > x.shape[1]
        return F.batch_norm(x, self.running_mean, self.running_var, weight, bias, by_batch, MOMENTUM)
