"""What a model would take before it is trained: parameters, FLOPs, memory, time and money.

Every figure is a formula over the preset, so that it can be checked by hand; docs/gpt.md works one through.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from bottega.errors import InputError
from bottega.models.gpt import GPTConfig
from bottega.recipes.gpt import count_parameters, gpt_shape

HOURS_PER_YEAR = 365.25 * 24


@dataclass(frozen=True)
class Gpu:
    """A device: TFLOP/s that it sustains in training (not its peak), their source, US dollars an hour."""

    tflops: float
    price_per_hour: float
    source: str


# Prices but the V100's are those of specialised clouds on demand in 2026. They move, so they can be given.
GPUS = {
    "v100": Gpu(28.0, 1.50, "Li (2020), behind the published 355 GPU-years and 4.6 M$"),
    "a100": Gpu(140.0, 1.50, "Narayanan et al. (2021, section 5.1), for GPT-3's size"),
    "h100": Gpu(400.0, 3.00, "Grattafiori et al. (2024, table 4), for Llama 3 405B"),
    "h200": Gpu(400.0, 4.00, "taken as the H100, whose arithmetic it shares"),
}


@dataclass(frozen=True)
class Plan:
    """The estimate, in the units that the names say; `gpu_years` are years of one device."""

    preset: str
    tokens: float
    parameters: int
    training_flops: float
    weights_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    kv_bytes_per_token: int
    gpu: str
    tflops: float
    price_per_hour: float
    gpu_years: float
    cost_usd: float
    source: str


def plan(
    name: str,
    tokens: float,
    gpu: str = "h100",
    *,
    batch: int = 1,
    tflops: float | None = None,
    price_per_hour: float | None = None,
) -> Plan:
    """Estimate the training of preset `name` on `tokens` tokens with one `gpu`, `batch` sequences at a time.

    `tflops` and `price_per_hour` replace what the table of devices says. Raises InputError for an unknown
    preset or device, and for a number that is not positive and finite.
    """
    config = gpt_shape(name)
    _require_positive(tokens=tokens, batch=batch, tflops=tflops)
    if price_per_hour is not None and not 0 <= price_per_hour < math.inf:
        raise InputError(f"price {price_per_hour} must be a number of dollars an hour, 0 or more")
    device = find_gpu(gpu)
    sustained = device.tflops if tflops is None else tflops
    price = device.price_per_hour if price_per_hour is None else price_per_hour

    parameters = count_parameters(config)
    flops = training_flops(parameters, tokens)
    hours = flops / (sustained * 1e12) / 3600
    return Plan(
        preset=name,
        tokens=tokens,
        parameters=parameters,
        training_flops=flops,
        weights_bytes=4 * parameters,
        gradient_bytes=4 * parameters,
        optimizer_bytes=8 * parameters,
        activation_bytes=batch * config.context_length * activation_bytes_per_token(config),
        kv_bytes_per_token=kv_bytes_per_token(config),
        gpu=gpu,
        tflops=sustained,
        price_per_hour=price,
        gpu_years=hours / HOURS_PER_YEAR,
        cost_usd=hours * price,
        source=device.source,
    )


def training_flops(parameters: int, tokens: float) -> float:
    """6 · N · D (Kaplan et al. 2020, section 2.1; Brown et al. 2020, appendix D), to three figures.

    N counts every parameter, embeddings included, as Brown et al. do. Attention over the context is left out,
    so further digits would say nothing; three are what the papers print, and what follows agrees with theirs.
    """
    return float(f"{6.0 * parameters * tokens:.2e}")


def activation_bytes_per_token(config: GPTConfig) -> int:
    """Bytes that the backward pass keeps for each token, in 16-bit training, no layer being recomputed.

    What each operation saves is counted as in Korthikanti et al. (2022, section 4.1), for these shapes; for a
    GPT with dropout that is their 34 · width a layer (32 without the masks), and once their
    4 · (width + vocabulary) of section 4.3. Attention scores are not kept: fused attention recomputes them.
    """
    width, inner = config.n_embd, config.inner
    queries, keys = config.n_head * config.head_size, config.kv_heads * config.head_size
    norms = 2 * 2 * width
    attention = 2 * width + 2 * queries + 2 * 2 * keys + 2 * queries
    # SwiGLU keeps gate, up, silu(gate) and the product; GELU what goes in and what comes out.
    mlp = 2 * width + (4 if config.mlp == "swiglu" else 2) * 2 * inner
    masks = 2 * width if config.dropout else 0  # one byte an element
    return config.n_layer * (norms + attention + mlp + masks) + 4 * (width + config.vocab_size)


def kv_bytes_per_token(config: GPTConfig) -> int:
    """Bytes of keys and values that one token leaves in a 16-bit cache (banded layers may drop old ones)."""
    return config.n_layer * 2 * config.kv_heads * config.head_size * 2


def find_gpu(name: str) -> Gpu:
    """Return a device of the table, or measure this machine for `cpu`; raises InputError for other names."""
    if name == "cpu":
        peak = measure_cpu()
        return Gpu(peak, 0.0, "its best 2048³ matrix product, so this is a lower bound")
    if name not in GPUS:
        raise InputError(
            f"there is no gpu {name!r}; there are {', '.join(GPUS)}, and cpu (this machine, measured)"
        )
    return GPUS[name]


def measure_cpu(size: int = 2048, repeats: int = 3) -> float:
    """TFLOP/s of this machine's fastest matrix product among fp32 and bf16."""
    import torch

    best = 0.0
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(size, size, dtype=dtype)
        b = torch.randn(size, size, dtype=dtype)
        for _ in range(repeats):
            start = time.perf_counter()
            a @ b
            best = max(best, 2 * size**3 / (time.perf_counter() - start) / 1e12)
    return best


def _require_positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{name} {value} must be a number above 0")
