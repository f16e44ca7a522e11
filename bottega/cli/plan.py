"""`bottega plan`: what a preset would take, before it is trained."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName, arg

if TYPE_CHECKING:
    from bottega.recipes.plan import Plan

DESCRIPTION = """Parameters, FLOPs, memory, time and cost of training a preset.

Example: bottega plan gpt3-175b --tokens 300e9 --gpu v100"""


def main(argv: list[str]) -> None:
    """Parse the arguments, estimate and print."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_plan, args=argv, prog="bottega plan", description=DESCRIPTION, config=markers)


def _plan(
    preset: Positional[str],
    tokens: float,
    gpu: str = "h100",
    batch: int = 1,
    tflops: float | None = None,
    price: float | None = None,
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Estimate the training of a preset.

    Args:
        preset: a name that `bottega train --list` shows, or ada, babbage, curie, davinci.
        tokens: how many tokens to train on, such as 300e9.
        gpu: v100, a100, h100, h200, or cpu: this machine's processor, measured.
        batch: how many sequences go through at once, for the memory of the activations.
        tflops: what the device sustains, in place of the table's figure.
        price: US dollars an hour, in place of the table's figure.
        json_: print one JSON object.
    """
    from bottega.recipes.plan import plan

    result = plan(preset, tokens, gpu, batch=batch, tflops=tflops, price_per_hour=price)
    print(json.dumps(asdict(result)) if json_ else _table(result, batch))


def _table(plan: Plan, batch: int) -> str:
    memory = plan.weights_bytes + plan.gradient_bytes + plan.optimizer_bytes + plan.activation_bytes
    rows = (
        ("parameters", f"{plan.parameters:,}", "embeddings included, a tied matrix once"),
        ("training FLOPs", f"{plan.training_flops:.3g}", f"6 × parameters × {plan.tokens:.3g} tokens"),
        ("weights", _bytes(plan.weights_bytes), "fp32"),
        ("gradients", _bytes(plan.gradient_bytes), "fp32"),
        ("optimizer", _bytes(plan.optimizer_bytes), "AdamW: two fp32 moments"),
        ("activations", _bytes(plan.activation_bytes), f"16-bit, batch of {batch}, fused attention"),
        ("memory in all", _bytes(memory), "to train with one device"),
        ("KV cache a token", _bytes(plan.kv_bytes_per_token), "16-bit"),
        ("time", _duration(plan.gpu_years), f"one {plan.gpu} at {plan.tflops:.3g} TFLOP/s: {plan.source}"),
        ("cost", _dollars(plan.cost_usd), f"at {plan.price_per_hour:.2f} $/h"),
    )
    return f"{plan.preset}\n" + "\n".join(f"  {name:<17} {value:>16}  {note}" for name, value, note in rows)


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def _duration(years: float) -> str:
    days = years * 365.25
    for unit, amount in (("GPU-years", years), ("GPU-days", days), ("GPU-hours", days * 24)):
        if amount >= 1:
            return f"{amount:,.3g} {unit}"
    return f"{days * 24 * 60:.3g} GPU-minutes"


def _dollars(amount: float) -> str:
    if amount >= 1e6:
        return f"{amount / 1e6:,.2f} M$"
    return f"{amount:,.0f} $" if amount >= 100 else f"{amount:,.2f} $"
