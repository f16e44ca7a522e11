"""How an engine is set up, and what it says of itself. Without torch: the server reads both."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from bottega.errors import InputError

Weights = Literal["auto", "fp32", "bf16", "int8", "int4"]


@dataclass(frozen=True)
class EngineSettings:
    """How one model is served. Raises InputError naming the first field out of its range."""

    device: str = "auto"  # where the model runs: cpu, cuda, cuda:1; auto: the first GPU, or else the CPU
    weights: Weights = "auto"  # how the weights are kept; auto: as the checkpoint has them
    exact: bool = True  # whether a request's logits are the same to the bit in whatever company it runs
    slots: int = 64  # requests that decode together
    queue: int = 256  # requests that wait; beyond that they are refused
    kv_tokens: int | None = None  # positions in the KV cache; None: from the free memory
    chunk: int = 16  # the least number of prompt tokens read in a step while others decode
    speculate: int = 0  # tokens drafted a step by looking them up in the text so far; 0: none
    prefix_cache: bool = True  # whether keys and values of prompts are kept for those that begin alike

    step_seconds: float = 300.0  # an engine that is longer at a step is killed and started again

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise InputError(f"device must be auto, cpu, cuda, or cuda:N, not {self.device!r}")
        for name, low in (("slots", 1), ("queue", 0), ("chunk", 1), ("speculate", 0)):
            if getattr(self, name) < low:
                raise InputError(f"{name} must be at least {low}, not {getattr(self, name)}")
        if self.kv_tokens is not None and self.kv_tokens < 1:
            raise InputError(f"kv_tokens must be at least 1, not {self.kv_tokens}")
        if not 0 < self.step_seconds < float("inf"):
            raise InputError(f"step_seconds must be a number of seconds above 0, not {self.step_seconds}")


DEFAULT = EngineSettings()


@dataclass(frozen=True)
class Statistics:
    """What an engine is doing, and what it has done since it started (the last six, which only grow)."""

    running: int = 0  # requests that read their prompts or decode
    waiting: int = 0
    kv_blocks_used: int = 0  # held by running requests; blocks kept for later prefixes count as free
    kv_blocks_total: int = 0
    prefix_hit_tokens: int = 0  # prompt tokens whose keys and values were there already
    prompt_tokens: int = 0  # prompt tokens of admitted requests, hits among them
    generated_tokens: int = 0
    preemptions: int = 0  # requests that gave their blocks up and were computed again
    drafted: int = 0  # tokens that speculation proposed
    accepted: int = 0  # and those that were what the model drew
