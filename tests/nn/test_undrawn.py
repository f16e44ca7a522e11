"""Modules without memory and without initialisation."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

from bottega.nn.undrawn import undrawn


def test_modules_have_shapes_and_nothing_else() -> None:
    with undrawn():
        layers = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(3))
        nn.init.normal_(layers[0].weight, std=0.02)
    assert {name: tuple(tensor.shape) for name, tensor in layers.state_dict().items()} == {
        "0.weight": (5, 4), "1.weight": (3, 4), "1.bias": (3,), "2.weight": (3,), "2.bias": (3,),
    }  # fmt: skip
    assert all(parameter.device.type == "meta" for parameter in layers.parameters())


def test_afterwards_modules_are_drawn_again() -> None:
    with undrawn():
        pass
    torch.manual_seed(0)
    assert nn.Embedding(5, 4).weight.std() > 0.1


def test_the_compiler_is_not_imported() -> None:
    code = (
        "import sys; from torch import nn; from bottega.nn.undrawn import undrawn\n"
        "with undrawn(): nn.Embedding(5, 4)\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
