"""How soon, and how well, does a small GPT learn beside nanoGPT's own CPU recipe on tiny Shakespeare?

nanoGPT (its README, "I only have a macbook"): characters, 4 layers, 4 heads, 128 wide, context 64, 2,000
steps of 12 sequences, AdamW, cosine, fp32, eager; 0.80 million parameters. Ours, our model and optimizer:

- `sprint`: few steps, to see how soon nanoGPT's final loss is reached;
- `equal-time`: about as many seconds as nanoGPT's 2,000 steps take; the table has both;
- `equal-tokens`: nanoGPT's batches, steps and number of parameters (± 5 %).

One function evaluates all: context 64, the whole validation split (the last tenth of the text). Seconds are
those of training: compilation counted, evaluation excluded. The runs alternate on the same cores.

    git clone https://github.com/karpathy/nanoGPT
    python bench/learning.py --nanogpt nanoGPT --text shakespeare.txt
"""

from __future__ import annotations

import contextlib
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from report import record
from torch import Tensor, nn
from torch._inductor.utils import fresh_cache

from bottega.models.gpt import GPT, GPTConfig
from bottega.nn.loss import IGNORE
from bottega.training.config import TrainingConfig
from bottega.training.events import Event, ValidationEvent
from bottega.training.loop import train

CONTEXT = 64
Curve = list[tuple[int, float, float]]  # steps, seconds, nats a character

CHOICES: dict[str, Any] = {
    "positions": "rotary",
    "qk_norm": True,
    "mlp": "swiglu",
    "attention_bias": False,
    "mlp_bias": False,
}
SHAPE = GPTConfig(65, CONTEXT, 4, 2, 128, n_inner=352, **CHOICES)
RECIPES: dict[str, tuple[GPTConfig, dict[str, Any]]] = {
    "sprint": (
        GPTConfig(65, CONTEXT, 3, 2, 128, n_inner=384, **CHOICES),
        {
            "batch_size": 64,
            "steps": 110,
            "learning_rate": 0.01,
            "matrix_learning_rate": 0.02,
            "compile": "off",
        },
    ),
    "equal-time": (
        SHAPE,
        {
            "batch_size": 48,
            "steps": 960,
            "learning_rate": 0.006,
            "matrix_learning_rate": 0.015,
            "compile": "on",
        },
    ),
    "equal-tokens": (
        SHAPE,
        {
            "batch_size": 12,
            "steps": 2000,
            "learning_rate": 0.003,
            "matrix_learning_rate": 0.01,
            "compile": "off",
        },
    ),
}


class Characters:
    """Tiny Shakespeare as nanoGPT splits it; random windows of the training part."""

    def __init__(self, text: str, batch_size: int, seed: int) -> None:
        alphabet = {character: i for i, character in enumerate(sorted(set(text)))}
        ids = torch.tensor([alphabet[character] for character in text])
        cut = int(0.9 * len(ids))
        self.training, self.held_out = ids[:cut], ids[cut:]
        self.batch_size, self.seed, self.step = batch_size, seed, 0

    def next_batch(self) -> dict[str, Tensor]:
        """The batch of the next step."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        self.step += 1
        starts = torch.randint(len(self.training) - CONTEXT, (self.batch_size, 1), generator=generator)
        windows = self.training[starts + torch.arange(CONTEXT + 1)]
        return {"ids": windows[:, :-1].contiguous(), "targets": windows[:, 1:].contiguous()}

    def state_dict(self) -> dict[str, int]:
        """The cursor."""
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go where the cursor says."""
        self.step = state["step"]


@torch.no_grad()
def evaluate(logits_of: Callable[[Tensor], Tensor], held_out: Tensor) -> float:
    """Nats a character over the whole split, in windows of CONTEXT; all but the first are scored once."""
    count = len(held_out) - 1
    rows = math.ceil(count / CONTEXT)
    padded = torch.full((rows * CONTEXT + 1,), 0)
    padded[: len(held_out)] = held_out
    ids = padded[:-1].view(rows, CONTEXT)
    targets = padded[1:].clone()
    targets[count:] = IGNORE
    total = 0.0
    for some, wanted in zip(ids.split(128), targets.view(rows, CONTEXT).split(128), strict=True):
        logits = logits_of(some).float().flatten(0, 1)
        total += float(
            nn.functional.cross_entropy(logits, wanted.flatten(), ignore_index=IGNORE, reduction="sum")
        )
    return total / count


def nanogpt(folder: Path, text: str, seed: int, steps: int, every: int) -> tuple[Curve, int]:
    """nanoGPT's model, optimizer and schedule, as its train.py runs them; its curve and parameter count."""
    sys.path.insert(0, str(folder))
    import model as nano  # type: ignore[import-not-found]

    torch.manual_seed(seed)
    data = Characters(text, 12, seed)
    shape = {"block_size": CONTEXT, "vocab_size": 65, "n_layer": 4, "n_head": 4, "n_embd": 128}
    with contextlib.redirect_stdout(None):
        model = nano.GPT(nano.GPTConfig(**shape, dropout=0.0, bias=False))
        optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")
    curve, seconds = [], 0.0
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            # Without targets nanoGPT gives the last position only, so the evaluation passes some.
            curve.append((step, seconds, evaluate(lambda ids: model(ids, ids)[0], data.held_out)))
        if step == steps:
            break
        began = time.perf_counter()
        progress = (step - 100) / (2000 - 100)
        cosine = 1e-4 + 0.5 * (1 + math.cos(math.pi * progress)) * 9e-4
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (step + 1) / 101 if step < 100 else cosine
        batch = data.next_batch()
        _, loss = model(batch["ids"], batch["targets"])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds += time.perf_counter() - began
    return curve, sum(parameter.numel() for parameter in model.parameters())


def ours(name: str, text: str, seed: int, every: int, **changes: Any) -> tuple[Curve, int]:
    """One of RECIPES through the project's own training loop."""
    shape, recipe = RECIPES[name]
    config = TrainingConfig(**{"seed": seed, "validate_every": every, **recipe, **changes})
    data = Characters(text, config.batch_size, seed)
    curve: Curve = []

    def listen(event: Event) -> None:
        if isinstance(event, ValidationEvent):
            curve.append((event.step, event.seconds, event.values["loss"]))

    torch.manual_seed(seed)
    model = GPT(shape)
    torch.compiler.reset()  # what an earlier seed compiled must be compiled again
    with fresh_cache(), tempfile.TemporaryDirectory() as folder:
        train(
            model,
            data,
            Path(folder) / "run",
            config,
            validation=lambda model: {"loss": evaluate(model, data.held_out)},
            on_event=listen,
        )
    return curve, model.n_parameters()


def seconds_to(curve: Curve, loss: float) -> float:
    """Seconds at the first evaluation at or under `loss`; infinite where there is none."""
    return next((seconds for _, seconds, value in curve if value <= loss), math.inf)


@dataclass(frozen=True)
class Bench:
    """Learning curves beside nanoGPT's."""

    nanogpt: Path
    """A clone of https://github.com/karpathy/nanoGPT."""
    text: Path
    """Tiny Shakespeare (`bottega data get shakespeare`)."""
    seeds: int = 5
    figure: Path = Path("docs/figures/learning.png")
    quick: bool = False
    """A few steps of each, to see that everything is in place."""


def measure(bench: Bench) -> dict[str, list[tuple[Curve, int]]]:
    """All curves, by run and seed."""
    text = bench.text.read_text(encoding="utf-8")
    results: dict[str, list[tuple[Curve, int]]] = {name: [] for name in ("nanoGPT", *RECIPES)}
    for seed in range(1 if bench.quick else bench.seeds):
        steps = 20 if bench.quick else 2000
        results["nanoGPT"].append(nanogpt(bench.nanogpt, text, seed, steps, every=200))
        few = {"steps": 10} if bench.quick else {}
        results["sprint"].append(ours("sprint", text, seed, 10, **few))
        results["equal-time"].append(ours("equal-time", text, seed, 50, **few))
        results["equal-tokens"].append(ours("equal-tokens", text, seed, 200, **few))
        for name, runs in results.items():
            steps, took, loss = runs[-1][0][-1]
            print(f"seed {seed} {name:<13} {steps:5,} steps {took:6.1f} s  loss {loss:.4f}", flush=True)
    return results


def report(results: dict[str, list[tuple[Curve, int]]]) -> None:
    """Medians over the seeds, in bench/RESULTS.md."""
    targets = [curve[-1][2] for curve, _ in results["nanoGPT"]]
    whole = [curve[-1][1] for curve, _ in results["nanoGPT"]]
    for name, runs in results.items():
        reached = [seconds_to(curve, target) for (curve, _), target in zip(runs, targets, strict=True)]
        losses = [curve[-1][2] for curve, _ in runs]
        record(
            "learning",
            {
                "run": name,
                "parameters": runs[0][1],
                "steps": runs[0][0][-1][0],
                "seconds": statistics.median(curve[-1][1] for curve, _ in runs),
                "final loss": statistics.median(losses),
                "lowest, highest": f"{min(losses):.3f}, {max(losses):.3f}",
                "seconds to nanoGPT's final loss": statistics.median(reached),
                "share of nanoGPT's time": statistics.median(
                    mine / theirs for mine, theirs in zip(reached, whole, strict=True)
                ),
                "seeds": len(runs),
            },
        )
    ahead = [
        all(ours[2] < theirs[2] for ours, theirs in zip(mine[1:], nano[1:], strict=True))
        for (mine, _), (nano, _) in zip(results["equal-tokens"], results["nanoGPT"], strict=True)
    ]
    print(f"equal tokens: lower at every evaluation from step 200 on in {sum(ahead)} of {len(ahead)} seeds")


def draw(results: dict[str, list[tuple[Curve, int]]], out: Path) -> None:
    """Loss against seconds, and against characters read; a thin line a seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), dpi=130, layout="constrained")
    by_time, by_tokens = figure.subplots(1, 2, sharey=True)
    colours = {"nanoGPT": "0.45", "sprint": "#D55E00", "equal-time": "#009E73", "equal-tokens": "#0072B2"}
    for name, runs in results.items():
        for seed, (curve, _) in enumerate(runs):
            style = {"color": colours[name], "linewidth": 1.1, "alpha": 0.8}
            label = {} if seed else {"label": name if name == "nanoGPT" else f"ours, {name}"}
            losses = [loss for _, _, loss in curve]
            by_time.plot([seconds for _, seconds, _ in curve], losses, **style, **label)
            if name in ("nanoGPT", "equal-tokens"):
                by_tokens.plot([steps * 12 * CONTEXT for steps, _, _ in curve], losses, **style)
    by_time.set(xlabel="seconds of training, compilation counted", ylabel="held-out nats a character")
    by_tokens.set(xlabel="characters read, equal number of parameters")
    by_time.set_ylim(1.4, 2.8)
    by_time.legend(frameon=False)
    for axes in (by_time, by_tokens):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


if __name__ == "__main__":
    bench = tyro.cli(Bench, description=__doc__)
    results = measure(bench)
    if not bench.quick:
        report(results)
        draw(results, bench.figure)
