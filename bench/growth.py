"""How does the memory of a training step grow with the context?

A process for each context trains two steps of a 6 × 384 model (rotary positions, vocabulary 8,192, one row,
bf16, eager) and reports the most memory that it held beyond its weights and libraries. Up to 1,024 positions
attention writes its scores out, beyond that it uses torch's blocked kernel; both are in the figure.

    python bench/growth.py
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
import tyro
from report import record


@dataclass(frozen=True)
class Bench:
    """Memory of a training step against the context."""

    contexts: tuple[int, ...] = (256, 512, 1024, 2048, 4096, 8192)
    figure: Path = Path("docs/figures/growth.png")
    one: int | None = None
    """For the processes of this bench: the context."""


def peak_bytes(context_length: int) -> int:
    """The most memory that two training steps take, beyond what the process held before them."""
    from bottega.models.gpt import GPT, GPTConfig
    from bottega.training.config import TrainingConfig
    from bottega.training.context import WHOLE, Context
    from bottega.training.distributed import World
    from bottega.training.precision import Weights

    torch.manual_seed(0)
    model = GPT(GPTConfig(8192, context_length, 6, 6, 384, positions="rotary"))
    weights = Weights(model, torch.bfloat16)
    context = Context(model, weights, TrainingConfig(steps=2, optimizer="adamw"), World(), torch.bfloat16)

    def step(time: int) -> None:
        ids = torch.randint(8192, (1, time + 1))
        context.begin(0, 2)
        context.optimize(WHOLE, model.loss, {"ids": ids[:, :-1], "targets": ids[:, 1:]})

    step(16)  # the optimizer's state and the libraries' own memory
    before = psutil.Process().memory_info().rss
    step(context_length)
    step(context_length)
    return _high_water() - before


def _high_water() -> int:
    """The highest resident size of this process so far, in bytes."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def draw(contexts: list[int], measured: list[int], out: Path) -> None:
    """Memory against context, with the straight line through it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.2), dpi=130, layout="constrained")
    axes = figure.subplots()
    slope, start = np.polyfit(contexts, measured, 1)
    axes.plot(contexts, [(start + slope * c) / 1e6 for c in contexts], color="0.6", linestyle="--")
    axes.plot(contexts, [m / 1e6 for m in measured], "o-", color="#0072B2")
    axes.set(xlabel="context (tokens)", ylabel="memory of a training step (MB)")
    axes.set_title(f"{slope / 1e3:.0f} kB a token", loc="left", fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


def main(bench: Bench) -> None:
    """Measure all contexts, or one for the parent process."""
    if bench.one:
        print(json.dumps(peak_bytes(bench.one)))
        return
    measured = []
    for context in bench.contexts:
        command = [sys.executable, __file__, "--one", str(context)]
        measured.append(int(json.loads(subprocess.run(command, check=True, capture_output=True).stdout)))
        row = {"context": context, "MB": measured[-1] / 1e6, "kB a token": measured[-1] / 1e3 / context}
        record("growth", row)
        print(row, flush=True)
    draw(list(bench.contexts), measured, bench.figure)


if __name__ == "__main__":
    main(tyro.cli(Bench, description=__doc__))
