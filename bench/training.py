"""Training speed beside nanoGPT, litgpt and transformers: tokens/s, and the share of this machine's ceiling.

Two shapes: `gpt2-124m` (context 1,024) and `small` (6 layers, 384 wide, context 256, vocabulary 8,192). Each
measurement is a process of its own that builds the model, takes two steps that are not counted, then times
the median of `--steps` whole steps: forward, backward, clipping, optimizer. The processes alternate over
`--rounds` rounds; the table has the medians. Each rival runs at its best of eager and compiled, fp32 and
bf16, which the first round finds; Bottega runs as its own loop does, compiled, in bf16.

The ceiling is the best 4096³ bf16 matrix product in the same process. FLOPs a token are 6 · (parameters of
the matrices and the head) + 6 · layers · width · context, for everyone.

    python bench/training.py --nanogpt nanoGPT          # litgpt and transformers are used where installed
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from report import record
from torch import Tensor, nn

Shape = Literal["gpt2-124m", "small"]
# vocabulary, context, layers, heads, width; sequences a step
SHAPES: dict[str, tuple[tuple[int, int, int, int, int], int]] = {
    "gpt2-124m": ((50257, 1024, 12, 12, 768), 2),
    "small": ((8192, 256, 6, 6, 384), 16),
}
Step = Callable[[Tensor], object]


def bottega(shape: str, precision: str, compiled: bool) -> Step:
    """The project's own step: what `train` does between two batches."""
    from bottega.models.gpt import GPT, GPTConfig
    from bottega.training import machine
    from bottega.training.config import TrainingConfig
    from bottega.training.context import WHOLE, Context
    from bottega.training.distributed import World
    from bottega.training.precision import DTYPES, Weights

    machine.keep_freed_memory()
    model = GPT(GPTConfig(*SHAPES[shape][0]))
    config = TrainingConfig(steps=1, optimizer="adamw")
    context = Context(model, Weights(model, DTYPES[precision]), config, World(), DTYPES[precision])
    if compiled:
        for unit in model.compile_units():
            unit.compile(dynamic=False)

    def step(ids: Tensor) -> object:
        context.begin(0, 1)
        return context.optimize(WHOLE, model.loss, {"ids": ids[:, :-1], "targets": ids[:, 1:]})

    return step


def nanogpt(shape: str, precision: str, compiled: bool, folder: Path) -> Step:
    """The model and optimizer of nanoGPT, stepped as its train.py does."""
    sys.path.insert(0, str(folder))
    import model as nano  # type: ignore[import-not-found]

    vocabulary, context, layers, heads, width = SHAPES[shape][0]
    with contextlib.redirect_stdout(None):
        sizes = {"n_layer": layers, "n_head": heads, "n_embd": width}
        net = nano.GPT(
            nano.GPTConfig(block_size=context, vocab_size=vocabulary, dropout=0.0, bias=True, **sizes)
        )
    return _plain(net, precision, compiled, lambda run, ids: run(ids[:, :-1], ids[:, 1:].contiguous())[1])


def transformers(shape: str, precision: str, compiled: bool) -> Step:
    """GPT2LMHeadModel."""
    from transformers import GPT2Config, GPT2LMHeadModel

    vocabulary, context, layers, heads, width = SHAPES[shape][0]
    sizes = {"n_layer": layers, "n_head": heads, "n_embd": width}
    drops = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    net = GPT2LMHeadModel(
        GPT2Config(vocab_size=vocabulary, n_positions=context, **sizes, **drops, use_cache=False)
    )
    return _plain(net, precision, compiled, lambda run, ids: run(ids[:, :-1], labels=ids[:, 1:]).loss)


def litgpt(shape: str, precision: str, compiled: bool) -> Step:
    """The GPT of litgpt in GPT-2's sizes (it has rotary positions, and no tied head)."""
    from litgpt.config import Config
    from litgpt.model import GPT

    vocabulary, context, layers, heads, width = SHAPES[shape][0]
    net = GPT(
        Config(
            name="bench",
            block_size=context,
            padded_vocab_size=vocabulary,
            vocab_size=vocabulary,
            n_layer=layers,
            n_head=heads,
            n_embd=width,
            rotary_percentage=1.0,
            parallel_residual=False,
        )
    )

    def loss(run: Any, ids: Tensor) -> Tensor:
        logits = run(ids[:, :-1])
        return nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    return _plain(net, precision, compiled, loss)


def _plain(net: nn.Module, precision: str, compiled: bool, loss: Callable[[Any, Tensor], Tensor]) -> Step:
    """The step that all three rivals' trainers take: autocast, clipping, fused AdamW."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    run: Any = torch.compile(net) if compiled else net
    cast = precision == "bf16"

    def step(ids: Tensor) -> object:
        with torch.autocast("cpu", torch.bfloat16, enabled=cast):
            value = loss(run, ids)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(value.detach())

    return step


def ceiling(repeats: int = 4) -> float:
    """FLOP/s of the best 4096³ bf16 product."""
    a, b = (torch.randn(4096, 4096).bfloat16() for _ in range(2))
    best = min(_seconds(lambda: a @ b) for _ in range(repeats))
    return 2 * 4096**3 / best


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def flops_per_token(shape: str) -> float:
    """6 · (12 · layers · width² + vocabulary · width) + 6 · layers · width · context."""
    vocabulary, context, layers, _, width = SHAPES[shape][0]
    return 6.0 * (12 * layers * width**2 + vocabulary * width) + 6.0 * layers * width * context


@dataclass(frozen=True)
class Bench:
    """Training speed beside other projects."""

    nanogpt: Path | None = None
    """A clone of https://github.com/karpathy/nanoGPT."""
    shapes: tuple[Shape, ...] = ("small", "gpt2-124m")
    precisions: tuple[Literal["bf16", "fp32"], ...] = ("bf16", "fp32")
    """Tried for each rival, compiled and eager."""
    rounds: int = 3
    steps: int = 5
    quick: bool = False
    """One round of one step of the small shape, in bf16 and eager; nothing is recorded."""
    one: tuple[str, str, str, str] | None = None
    """For the processes of this bench: project, shape, precision, compiled or eager."""


def measure_one(bench: Bench, project: str, shape: str, precision: str, mode: str) -> dict[str, float]:
    """Tokens/s of one project in this process, the seconds before the first timed step, and the ceiling."""
    began = time.perf_counter()
    torch.manual_seed(0)
    more = (bench.nanogpt,) if project == "nanogpt" else ()
    step = globals()[project](shape, precision, mode == "compiled", *more)
    (vocabulary, context, *_), rows = SHAPES[shape]
    ids = torch.randint(vocabulary, (rows, context + 1))
    for _ in range(2):
        step(ids)
    ready = time.perf_counter() - began
    top = ceiling()
    took = statistics.median(_seconds(lambda: step(ids)) for _ in range(bench.steps))
    return {"tokens/s": rows * context / took, "ready": ready, "ceiling": max(top, ceiling())}


def in_process(bench: Bench, project: str, shape: str, setting: tuple[str, bool]) -> dict[str, float] | None:
    """The same in a process of its own; None where the project is not installed or the setting fails."""
    words = [project, shape, setting[0], "compiled" if setting[1] else "eager"]
    command = [sys.executable, __file__, "--steps", str(bench.steps), "--one", *words]
    command += ["--nanogpt", str(bench.nanogpt)] if bench.nanogpt else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"{' '.join(words)}: left out ({done.stderr.strip().splitlines()[-1][:120]})", flush=True)
        return None
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    share = result["tokens/s"] * flops_per_token(shape) / result["ceiling"]
    print(f"{' '.join(words)}: {result['tokens/s']:,.0f} tokens/s, {share:.0%} of the ceiling", flush=True)
    return result


def contenders(bench: Bench, shape: str) -> Iterator[tuple[str, tuple[str, bool]]]:
    """Each project with its best setting."""
    yield "bottega", ("bf16", not bench.quick)
    for project in ("nanogpt", "transformers", "litgpt"):
        if project == "nanogpt" and bench.nanogpt is None:
            print("nanogpt: left out (name a clone with --nanogpt)")
            continue
        settings = [(precision, compiled) for precision in bench.precisions for compiled in (True, False)]
        found = {
            setting: result["tokens/s"]
            for setting in ([("bf16", False)] if bench.quick else settings)
            if (result := in_process(bench, project, shape, setting))
        }
        if found:
            yield project, max(found, key=lambda setting: found[setting])


def main(bench: Bench) -> None:
    """Measure all, or one for the parent process."""
    if bench.one:
        print(json.dumps(measure_one(bench, *bench.one)))
        return
    for shape in ("small",) if bench.quick else bench.shapes:
        best = dict(contenders(bench, shape))
        results: dict[str, list[dict[str, float]]] = {project: [] for project in best}
        for _ in range(1 if bench.quick else bench.rounds):
            for project, setting in best.items():
                if result := in_process(bench, project, shape, setting):
                    results[project].append(result)
        speed = {p: statistics.median(r["tokens/s"] for r in rs) for p, rs in results.items() if rs}
        for project, tokens in speed.items():
            top = statistics.median(result["ceiling"] for result in results[project])
            precision, compiled = best[project]
            row = {
                "case": f"{shape}, {project}",
                "setting": f"{precision}, {'compiled' if compiled else 'eager'}",
                "tokens/s": tokens,
                "ours / this": speed["bottega"] / tokens,
                "share of the ceiling": tokens * flops_per_token(shape) / top,
                "ceiling, GFLOP/s": top / 1e9,
                "seconds to the third step": statistics.median(r["ready"] for r in results[project]),
                "rounds": len(results[project]),
            }
            print(row) if bench.quick else record("training", row)


if __name__ == "__main__":
    main(tyro.cli(Bench, description=__doc__))
