"""How fast is a recurrent layer, forward and backward, beside torch's own with as many weights? One thread.

python bench/recurrent.py
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import torch
import tyro
from report import record, seconds
from torch import Tensor, nn

from bottega.models.recurrent import CELLS, Cell

TORCH = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def main(time: int = 64, rows: int = 32, width: int = 384, repeats: int = 15, quick: bool = False) -> None:
    """Time each kind of layer in turn with torch's; `quick` takes small sizes and writes nothing down."""
    torch.set_num_threads(1)
    if quick:
        time, rows, width, repeats = 8, 4, 16, 3
    x = torch.randn(time, rows, width, requires_grad=True)
    for name, kind in CELLS.items():
        ours, theirs = kind(width, width), TORCH[name](width, width)
        state = torch.zeros(kind.parts, rows, width)

        def layer(ours: Cell = ours, state: Tensor = state) -> Tensor:
            return ours(x, state)[0]

        def equations(ours: Cell = ours, state: Tensor = state) -> Tensor:
            return Cell.forward(ours, x, state)[0]

        def rival(theirs: nn.Module = theirs) -> Tensor:
            out: Tensor = theirs(x)[0]
            return out

        took = _medians([layer, equations, rival], repeats)
        row = {"layer": name, "ours ms": 1e3 * took[0], "torch ms": 1e3 * took[2]}
        row |= {"ratio": took[0] / took[2], "ratio step by step": took[1] / took[2]}
        print(", ".join(f"{key} {value:.2f}" if key != "layer" else str(value) for key, value in row.items()))
        if not quick:
            record("recurrent", row)


def _medians(passes: list[Callable[[], Tensor]], repeats: int) -> list[float]:
    """Seconds of each pass, forward and backward; they take turns, so that all see the same machine."""
    rounds = [[seconds(lambda one=one: one().sum().backward()) for one in passes] for _ in range(repeats + 1)]
    return [median(column) for column in zip(*rounds[1:], strict=True)]


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
