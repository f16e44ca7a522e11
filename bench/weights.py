"""What do packed weights cost in perplexity, and what do they weigh?

A run that holds its prepared data, as `bottega quickstart` leaves it: its held-out text is read in whole
windows by the model as it is, and packed as the engine packs it.

    python bench/weights.py --run runs/quickstart
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
import tyro
from report import record
from torch import Tensor

from bottega.data.loader import validation_batches
from bottega.data.shards import TokenShards
from bottega.engine.quantisation import KINDS
from bottega.engine.weights import PackedLinear, pack
from bottega.models.gpt import GPT
from bottega.nn.loss import IGNORE


@dataclass(frozen=True)
class Bench:
    """Perplexity of the model as it is, and packed."""

    run: Path = Path("runs/quickstart")
    batches: int = 24
    """Of 8 windows each."""


@torch.no_grad()
def nats_per_token(model: GPT, head: Callable[[Tensor], Tensor], batches: list[dict[str, Tensor]]) -> float:
    """The mean loss over all targets."""
    total, count = 0.0, 0
    for batch in batches:
        targets = batch["targets"].flatten()
        logits = head(model.hidden(batch["ids"])).flatten(0, 1)
        total += float(F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum"))
        count += int((targets != IGNORE).sum())
    return total / count


def megabytes(model: GPT, head: torch.nn.Module) -> float:
    """What a step reads: the packed matrices."""
    layers = [m for m in [*model.modules(), *head.modules()] if isinstance(m, PackedLinear)]
    return sum(layer.words.nbytes + layer.scales.nbytes for layer in layers) / 1e6


def main(bench: Bench) -> None:
    """Each kind beside the model in fp32."""
    held, folder = TokenShards.open(bench.run / "data" / "heldout"), bench.run / "best"
    model = GPT.from_pretrained(folder).float()
    windows = validation_batches(held, model.config.context_length, 8, None)
    batches = list(islice(windows, bench.batches))
    plain = nats_per_token(model, lambda hidden: F.linear(hidden, model.head_weight), batches)
    print(f"unpacked: perplexity {math.exp(plain):.3f}")
    for kind in KINDS:
        packed = GPT.from_pretrained(folder)
        head = pack(packed, kind, exact=True)
        nats = nats_per_token(packed, head, batches)
        row = {
            "weights": kind,
            "MB": megabytes(packed, head),
            "perplexity": math.exp(nats),
            "beside fp32, %": 100 * math.expm1(nats - plain),
        }
        record("weights", row)
        print(row, flush=True)


if __name__ == "__main__":
    main(tyro.cli(Bench, description=__doc__))
