"""Small models whose choices are far from ties, and a core that runs requests to their ends."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from bottega.engine import kernels
from bottega.engine.core import Core
from bottega.engine.request import Request
from bottega.models.gpt import GPT, GPTConfig
from bottega.nn.steps import FinishReason, Step, Token

SHAPES = {
    "gpt2": {},
    "gpt3-banded": {"band": 70},
    "modern": {
        "norm": "rmsnorm", "positions": "rotary", "mlp": "swiglu", "qk_norm": True, "n_kv_head": 1,
        "tied": False, "attention_bias": False, "mlp_bias": False,
    },
}  # fmt: skip


@dataclass
class Told:
    """What a core said of one request."""

    steps: list[Step] = field(default_factory=list)

    @property
    def tokens(self) -> list[Token]:
        return [step.token for step in self.steps if step.token is not None]

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]

    @property
    def reason(self) -> FinishReason | None:
        return self.steps[-1].finish_reason if self.steps else None


@pytest.fixture(scope="session")
def make_model() -> Callable[..., GPT]:
    """A function that gives random models of 61 tokens and 512 positions, far from uniform."""

    def make(shape: str = "gpt2", **sizes: int) -> GPT:
        torch.manual_seed(0)
        wanted = {"vocab_size": 61, "context_length": 512, "n_layer": 2, "n_head": 2, "n_embd": 32} | sizes
        gpt = GPT(GPTConfig(**wanted, **SHAPES[shape]))
        with torch.no_grad():
            for parameter in gpt.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
        return gpt.eval()

    return make


@pytest.fixture(scope="session")
def run() -> Callable[[Core, Sequence[Request]], list[Told]]:
    """A function that runs requests together, to their ends."""

    def run_all(core: Core, requests: Sequence[Request]) -> list[Told]:
        told = [Told() for _ in requests]
        for number, request in enumerate(requests):
            core.add(number, request)
        while core.has_work:
            for number, step in core.step():
                told[number].steps.append(step)
        return told

    return run_all


# What the compiler is told and what the processor must have, for kernels that differ from this machine's.
INSTRUCTIONS = {
    "portable": ((), set()),
    "avx2": (("-march=haswell",), {"avx2", "fma", "bmi2"}),
    "avx-vnni": (("-march=haswell", "-mavxvnni"), {"avx2", "fma", "bmi2", "avx_vnni"}),
    "avx-512": (("-march=skylake-avx512",), {"avx512bw", "avx512dq", "avx512vl", "avx512cd"}),
}


@pytest.fixture(scope="session", params=INSTRUCTIONS)
def other_kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernels as another processor would have them compiled, as far as this one can run that."""
    compiler, (flags, needed) = kernels.find_compiler(), INSTRUCTIONS[request.param]
    info = Path("/proc/cpuinfo")
    if compiler is None or (needed and not (info.exists() and needed <= {*info.read_text().split()})):
        pytest.skip("needs a C++ compiler and a processor with these instructions")
    folder = tmp_path_factory.getbasetemp() / "kernels"
    return kernels.load(kernels.build(compiler, folder, choices=((*flags, "-fopenmp"), flags)))
