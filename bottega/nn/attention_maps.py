"""Who looks at whom: the attention weights of every layer that runs, without a change to what runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bottega.nn.transformer import CrossAttention, SelfAttention


@contextmanager
def recorded(module: nn.Module) -> Iterator[list[Float[Tensor, "batch head query key"]]]:
    """Within this, every attention in `module` that is called adds its weights to the list, in order.

    Whoever calls it reads without a cache: with one, the keys of earlier calls are not in the table.
    """
    tables: list[Tensor] = []

    def record(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert isinstance(layer, SelfAttention | CrossAttention)
        given = inspect.signature(layer.forward).bind(*args, **kwargs).arguments
        given.pop("cache", None)
        with torch.no_grad():
            tables.append(layer.weights(**given))

    layers = [m for m in module.modules() if isinstance(m, SelfAttention | CrossAttention)]
    handles = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in layers]
    try:
        yield tables
    finally:
        for handle in handles:
            handle.remove()


def rollout(weights: Float[Tensor, "layer head time time"]) -> Float[Tensor, "time time"]:
    """How much of each input is in each output, through all layers; rows sum to 1.

    Abnar & Zuidema (2020), section 3: heads are averaged, the residual branch passes half of every position
    on to itself (equation 1), and layers multiply.
    """
    mixed = (weights.float().mean(1) + torch.eye(weights.shape[-1], device=weights.device)) / 2
    through = mixed[0]
    for layer in mixed[1:]:
        through = layer @ through
    return through
