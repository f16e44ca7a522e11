"""Attention maps in the form that the package bertviz draws in a notebook (Vig 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bottega.errors import InputError


def to_bertviz(
    maps: Mapping[str, Tensor], tokens: Sequence[str], target_tokens: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the arguments of bertviz's `head_view` and `model_view`, as in `head_view(**to_bertviz(…))`.

    `maps` is what a model's `attention` returns, each layer × head × query × key. One sequence gives
    `attention` and `tokens`; a translation gives `encoder_attention`, `decoder_attention`, `cross_attention`,
    as far as the model has them, with `encoder_tokens` and `decoder_tokens`. Attention becomes a list with
    1 × head × query × key a layer. Raises InputError where a translation lacks its target's tokens.
    """
    layers = {name: [layer[None].to(torch.float32) for layer in weights] for name, weights in maps.items()}
    if "self" in layers:
        return {"attention": layers["self"], "tokens": list(tokens)}
    if target_tokens is None:
        raise InputError("a translation has tokens on two sides; give target_tokens too")
    named = {f"{name}_attention": weights for name, weights in layers.items()}
    return named | {"encoder_tokens": list(tokens), "decoder_tokens": list(target_tokens)}
