"""What do the engine's parts gain, and what does exactness cost?

GPT-2 124M with random weights, in this process, without HTTP; the end of the text is ignored, so that all
answers have their full length. Each question has its own case; the two sides of a ratio alternate, and the
median of the rounds counts.

    python bench/engine.py --run runs/quickstart   # under six minutes; one case is of that trained model
    python bench/engine.py --quick    # a tiny model, to show that everything is in place; records nothing
"""

from __future__ import annotations

import copy
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from report import record, seconds

from bottega.data.loader import validation_batches
from bottega.data.shards import TokenShards
from bottega.engine.core import Core
from bottega.engine.paged_attention import BLOCK
from bottega.engine.request import Request
from bottega.engine.settings import EngineSettings
from bottega.models.generation import Batch
from bottega.models.gpt import GPT, GPTConfig
from bottega.nn.sampling import Row
from bottega.nn.sampling_params import SamplingParams
from bottega.recipes.gpt import SHAPES

END = 0


@dataclass(frozen=True)
class Bench:
    """The engine beside itself with one part changed."""

    weights: tuple[str, ...] = ("int8", "bf16")
    rounds: int = 3
    run: Path | None = None
    """A trained GPT with its held-out data, as `bottega quickstart` leaves it."""
    quick: bool = False


class Cases:
    """The questions, each a method that gives a row of the table."""

    def __init__(self, bench: Bench) -> None:
        torch.manual_seed(0)
        tiny = GPTConfig(vocab_size=500, context_length=1024, n_layer=2, n_head=2, n_embd=64)
        self.model = GPT(tiny if bench.quick else SHAPES["gpt2-124m"])
        self.rounds = 1 if bench.quick else bench.rounds
        self.draw = random.Random(0)

    def core(self, weights: str, **settings: Any) -> Core:
        """A core over a copy of the model."""
        return Core(copy.deepcopy(self.model), END, EngineSettings(weights=weights, **settings))

    def prompt(self, length: int) -> list[int]:
        """A prompt like no other."""
        return [self.draw.randrange(1, 400) for _ in range(length)]

    def medians(self, *sides: Callable[[], float]) -> list[float]:
        """The medians of some measurements that alternate, after a round that does not count."""
        rounds = [[side() for side in sides] for _ in range(self.rounds + 1)][1:]
        return [statistics.median(values) for values in zip(*rounds, strict=True)]

    def paged(self) -> dict[str, Any]:
        """Sixteen rows of unequal length, 64 tokens each: paged beside contiguous, both in fp32."""
        requests = [Request(self.prompt(length), wanted(64)) for length in (32, 64, 128, 896) * 4]
        core, model = self.core("fp32", prefix_cache=False), copy.deepcopy(self.model)
        held = 0

        def paged() -> float:
            nonlocal held
            spent = 0.0
            for number, request in enumerate(requests):
                core.add(number, request)
            while core.has_work:
                spent += seconds(core.step)
                held = max(held, core.statistics().kv_blocks_used)
            return spent

        def contiguous() -> float:
            batch = Batch(model, END, len(requests), 960)
            rows = [Row(request.prompt, request.params.seeded()) for request in requests]

            def work() -> None:
                for row in rows:  # one by one: together all would be padded to the longest
                    batch.join([row])
                while batch.rows:
                    batch.step()

            return seconds(work)

        ours, theirs = self.medians(paged, contiguous)
        memory = len(requests) * 960 / (held * BLOCK)
        return {
            "case": "paged beside contiguous, fp32, 16 unequal rows",
            "tokens/s": 16 * 64 / ours,
            "beside": 16 * 64 / theirs,
            "ratio": theirs / ours,
            "note": f"the contiguous cache takes {memory:.2f} times the memory",
        }

    def prefix(self, weights: str) -> dict[str, Any]:
        """Time to the first token of 576 tokens, of which 512 are known or none."""
        core = self.core(weights)

        def known() -> float:
            shared = self.prompt(512)
            finish(core, [Request(shared, wanted(1))])
            return finish(core, [Request([*shared, *self.prompt(64)], wanted(1))])

        hit, miss = self.medians(known, lambda: finish(core, [Request(self.prompt(576), wanted(1))]))
        return row(
            "first token after 576 tokens, 512 of them known (bar ≤ 0.25)", weights, hit / miss, hit, miss
        )

    def clients(self, weights: str) -> dict[str, Any]:
        """Tokens/s of sixteen who ask for 64 tokens after 64 tokens, beside one."""
        core = self.core(weights)

        def of(n: int) -> float:
            return n * 64 / finish(core, [Request(self.prompt(64), wanted(64)) for _ in range(n)])

        sixteen, one = self.medians(lambda: of(16), lambda: of(1))
        return row("tokens/s of 16 clients beside 1 (bar ≥ 4)", weights, sixteen / one, sixteen, one)

    def stall(self, weights: str, n: int) -> dict[str, Any]:
        """How much longer the longest step of `n` who decode is while 900 tokens are read."""
        core = self.core(weights)

        def normal_and_longest() -> tuple[float, float, float]:
            for number in range(n):
                core.add(number, Request(self.prompt(64), wanted(900)))
            while len(core.step()) < n:
                pass  # until all decode
            usual = statistics.median(seconds(core.step) for _ in range(30))
            core.add(99, Request(self.prompt(900), wanted(1)))
            times, told = [], False
            while not told:
                start = time.perf_counter()
                told = any(number == 99 for number, _ in core.step())
                times.append(time.perf_counter() - start)
            for number in range(n):
                core.abort(number)
            # The ninth of ten: a single step may be held up by whatever else the machine does.
            return usual, statistics.quantiles(times, n=10, method="inclusive")[-1], sum(times)

        rounds = [normal_and_longest() for _ in range(self.rounds)]
        usual, longest, whole = (statistics.median(values) for values in zip(*rounds, strict=True))
        name = f"how long {n} who decode are held up by 900 tokens that are read, in usual steps (bar ≤ 2)"
        stall = longest - usual
        return row(name, weights, stall / usual, stall, usual) | {"note": f"read in {whole:.2f} s"}

    def speculation(self, weights: str) -> dict[str, Any]:
        """Tokens/s where the text is a copy: a bias makes the model repeat itself, as copying text does."""
        plain, looking = self.core(weights), self.core(weights, speculate=6)
        params = wanted(256, logit_bias={7: 100})

        def of(core: Core) -> float:
            return 256 / finish(core, [Request([*self.prompt(32), 7, 7, 7], params)])

        with_drafts, without = self.medians(lambda: of(looking), lambda: of(plain))
        told = looking.statistics()
        note = f"{told.accepted / max(1, told.drafted):.0%} of the drafts were right"
        name = "tokens/s with look-up on copied text (bar ≥ 1.5)"
        return row(name, weights, with_drafts / without, with_drafts, without) | {"note": note}

    def repeating(self, weights: str, run: Path) -> dict[str, Any]:
        """Tokens/s of a trained model with look-up and without, where held-out passages have begun again."""
        model = GPT.from_pretrained(run / "best")
        plain, looking = (
            Core(copy.deepcopy(model), END, EngineSettings(weights=weights, speculate=k)) for k in (0, 6)
        )
        passage = model.config.context_length // 2 - 20
        windows = validation_batches(TokenShards.open(run / "data" / "heldout"), passage, 8, None)
        read = next(iter(windows))["ids"].tolist()
        requests = [Request([*ids, *ids[:16]], wanted(passage)) for ids in read]

        def of(core: Core) -> float:
            return len(read) * passage / sum(finish(core, [request]) for request in requests)

        with_drafts, without = self.medians(lambda: of(looking), lambda: of(plain))
        told = looking.statistics()
        name = "tokens/s with look-up, a trained model goes on with a passage that begins again (bar ≥ 1.5)"
        note = f"{told.drafted:,} drafts, {told.accepted / max(1, told.drafted):.0%} right"
        return row(name, weights, with_drafts / without, with_drafts, without) | {"note": note}

    def exact(self, weights: str, n: int) -> dict[str, Any]:
        """Tokens/s of `n` streams with and without `exact`."""
        exactly, freely = self.core(weights, exact=True), self.core(weights, exact=False)

        def of(core: Core) -> float:
            return n * 64 / finish(core, [Request(self.prompt(256), wanted(64)) for _ in range(n)])

        ours, others = self.medians(lambda: of(exactly), lambda: of(freely))
        return row(f"tokens/s of {n} exact beside not (bar ≥ 0.9)", weights, ours / others, ours, others)


def wanted(tokens: int, **fields: Any) -> SamplingParams:
    """Greedy, and as many tokens as asked for."""
    return SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, **fields)


def finish(core: Core, requests: Sequence[Request]) -> float:
    """The seconds until all requests are done."""
    for number, request in enumerate(requests):
        core.add(number, request)
    start = time.perf_counter()
    while core.has_work:
        core.step()
    return time.perf_counter() - start


def row(case: str, weights: str, ratio: float, ours: float, beside: float) -> dict[str, Any]:
    """A row of the table; seconds or tokens/s, as the case says."""
    return {"case": f"{weights}: {case}", "ratio": ratio, "measured": ours, "beside": beside}


def main(bench: Bench) -> None:
    """All cases."""
    cases = Cases(bench)
    measured = [cases.paged]
    for weights in bench.weights:
        measured += [
            lambda w=weights: cases.prefix(w),
            lambda w=weights: cases.clients(w),
            lambda w=weights: cases.stall(w, 1),
            lambda w=weights: cases.stall(w, 16),
            lambda w=weights: cases.speculation(w),
            *([lambda w=weights: cases.repeating(w, bench.run)] if bench.run else []),
            lambda w=weights: cases.exact(w, 1),
            lambda w=weights: cases.exact(w, 16),
        ]
    for measure in measured:
        found = measure()
        print(found, flush=True)
        if not bench.quick:
            record("engine", found)


if __name__ == "__main__":
    main(tyro.cli(Bench, description=__doc__))
