"""What this machine can do: its fastest matrix product, its memory, its compiler, its allocator's manners."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import torch


def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return FLOP/s of the best square matrix product (2048³ and 4096³; on a GPU also 8192³) in `dtype`.

    Sizes that would take more than a second are left out, so that a slow machine is not kept waiting.
    """
    sizes = (1024, 2048, 4096, 8192) if device.type == "cuda" else (1024, 2048, 4096)
    best = 0.0
    for size in sizes:
        if best and 2 * size**3 / best > 1.0:
            break
        best = max(best, _product_speed(size, device, dtype))
    return best


def _product_speed(size: int, device: torch.device, dtype: torch.dtype, repeats: int = 3) -> float:
    a = torch.ones(size, size, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(repeats + 1):  # the first one pays for set-up
        start = time.perf_counter()
        result = a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
        del result
    return 2 * size**3 / best


def fastest_precision(device: torch.device) -> str:
    """Return `bf16` where this machine multiplies it faster than fp32, else `fp32`.

    The two take turns and the best counts, so that another program's burst does not decide.
    """
    speeds = {"bf16": 0.0, "fp32": 0.0}
    for _ in range(5):
        for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
            speeds[name] = max(speeds[name], _product_speed(768, device, dtype, repeats=1))
    return "bf16" if speeds["bf16"] > speeds["fp32"] else "fp32"


def memory_available(device: torch.device) -> int:
    """Return the bytes that a new job can have on this device without swapping."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return int(psutil.virtual_memory().available)


def kind(device: torch.device) -> str:
    """Name the hardware that results depend on: the processor's instruction set, or the GPU's model."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.system()} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


@cache
def compiler_works() -> bool:
    """Return whether a C++ compiler is there and builds a tiny program: torch.compile needs one on a CPU."""
    names = [os.environ.get("CXX", ""), *(("cl",) if sys.platform == "win32" else ("g++", "clang++", "c++"))]
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "main.cpp"
        source.write_text("#include <cmath>\nint main() { return 0; }\n")
        try:
            done = subprocess.run([found, "-c", source.name], cwd=folder, capture_output=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            return False
    return done.returncode == 0


def keep_freed_memory() -> None:
    """Tell glibc's allocator to keep what is freed; other platforms are left alone.

    A training step frees and takes the same large tensors again and again; given back to the system each
    time, every page of them would be faulted in and zeroed anew.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl has no such thing
        return
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
    mallopt(m_mmap_max, 0)  # large tensors come from the heap too: a mapped one is always given back
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_top_pad, 64 * 2**20)
