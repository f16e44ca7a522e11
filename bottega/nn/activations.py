"""Activations that torch has, in the form that is fastest here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def gelu_tanh(x: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """GELU's tanh approximation (Hendrycks & Gimpel 2016): x · (1 + tanh u) / 2 = x · sigmoid(2u).

    The compiler turns a sigmoid into half the time of a tanh; eager, torch's one kernel is the fastest.
    """
    if torch.compiler.is_compiling():
        return x * torch.sigmoid(1.5957691216057308 * x * (1 + 0.044715 * x * x))
    return F.gelu(x, approximate="tanh")
