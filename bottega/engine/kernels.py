"""The C++ kernels of this folder: compiled for the processor at first use, kept in the user's cache folder.

The library needs a C++ compiler and nothing else: without torch's headers, compiling takes seconds. It
shares torch's OpenMP threads. Without a compiler `compiled()` is None, a warning says so once, and the
callers compute with torch.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from ctypes import c_float, c_int, c_long, c_void_p
from pathlib import Path

import torch  # before the library: whoever is loaded first brings the OpenMP that both use

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
SOURCES = ("attention.cpp", "linear.cpp", "block.cpp", "quantise.cpp")  # what takes longest to compile first
HEADERS = ("rows.h", "vectors.h")
# Sums are neither reordered nor fused by the compiler: a result must not depend on the shape of the call.
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-Wno-psabi")
# The best that the compiler takes: macOS has no -fopenmp, old compilers for ARM no -march=native.
CHOICES = (("-march=native", "-fopenmp"), ("-mcpu=native", "-fopenmp"), ("-mcpu=native",), ())

_SIGNATURES = {
    "attend": [c_void_p] * 7 + [c_long] * 9 + [c_int] * 2,
    "store_kv": [c_void_p] * 7 + [c_long] * 7 + [c_int] * 2,
    "quantise": [c_void_p] + [c_long] * 2 + [c_int] + [c_void_p] * 2 + [c_int],
    "linear": [c_void_p] * 4 + [c_long, c_int],
    "blocks": [c_void_p, c_long] + [c_void_p] * 6 + [c_long] + [c_void_p] * 3 + [c_long] * 3 + [c_int] * 2,
}


class Before(ctypes.Structure):
    """What happens to a row before it is multiplied, as rows.h has it."""

    _fields_ = [("weight", c_void_p), ("bias", c_void_p), ("epsilon", c_float), ("step", c_int)]


class Linear(ctypes.Structure):
    """A packed linear layer, as rows.h has it."""

    _fields_ = [
        ("words", c_void_p), ("scales", c_void_p), ("bias", c_void_p),
        ("n_in", c_long), ("n_out", c_long), ("before", Before), ("kind", c_int),
    ]  # fmt: skip


class Block(ctypes.Structure):
    """A pre-norm block, as block.cpp has it."""

    _fields_ = [
        *((name, ctypes.POINTER(Linear)) for name in ("qkv", "out", "up", "down")),
        ("q_norm", Before), ("k_norm", Before),
        *((name, c_long) for name in ("heads", "kv_heads", "dim", "band")),
    ]  # fmt: skip


@functools.cache
def compiled() -> ctypes.CDLL | None:
    """The kernels, compiled where they are not yet in the cache; None, with a warning, where that fails."""
    compiler = find_compiler()
    if compiler is None:
        log.warning(
            "no C++ compiler: the engine computes with torch alone, slower and with more memory traffic; "
            "install g++ or clang++, or name one in CXX"
        )
        return None
    try:
        return load(build(compiler, cache_folder()))
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        log.warning("the kernels do not compile here, so the engine computes with torch, slower: %s", reason)
        return None


def on(device: torch.device) -> ctypes.CDLL | None:
    """The kernels, where they compute for this device: on a CPU with a compiler."""
    return compiled() if device.type == "cpu" else None


def find_compiler() -> str | None:
    """The C++ compiler: CXX, or the first of c++, g++ and clang++ that is installed."""
    if named := os.environ.get("CXX"):
        return shutil.which(named)
    return next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)


def cache_folder() -> Path:
    """Where the libraries are kept: `kernels` in the user's cache folder."""
    if os.name == "nt":
        cache = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif platform.system() == "Darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "bottega" / "kernels"


def build(compiler: str, folder: Path, choices: tuple[tuple[str, ...], ...] = CHOICES) -> Path:
    """The library in `folder`, compiled with the first of `choices` that works unless it is there and whole.

    Raises subprocess.SubprocessError with the compiler's words, OSError where the folder cannot be written.
    """
    said = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=60).stdout
    source = b"\0".join((HERE / name).read_bytes() for name in (*SOURCES, *HEADERS))
    key = hashlib.sha256(b"\0".join([source, said, repr((FLAGS, choices)).encode(), _processor().encode()]))
    path = folder / f"{key.hexdigest()[:32]}.so"
    if not _whole(path):
        log.warning("compiling the kernels for this processor (once, some seconds)")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:  # in the same folder, so it can be renamed
            out = Path(temporary) / path.name
            _compile(compiler, out, choices)
            code = out.read_bytes()
            out.write_bytes(code + hashlib.sha256(code).digest())  # a loader reads an ELF file's begin only
            out.replace(path)
    return path


def load(path: Path) -> ctypes.CDLL:
    """Load the library and declare its functions; raises OSError where it is none."""
    kernels = ctypes.CDLL(str(path))
    for name, types in _SIGNATURES.items():
        function = getattr(kernels, name)
        function.argtypes, function.restype = types, None
    return kernels


def _compile(compiler: str, out: Path, choices: tuple[tuple[str, ...], ...]) -> None:
    """Compile each source, side by side, and link them, all with the first of `choices` that works."""
    for choice in choices:
        flags = [*FLAGS, *choice]
        objects = [str(out.with_name(f"{name}.o")) for name in SOURCES]
        commands = [
            [compiler, *flags, "-c", str(HERE / name), "-o", made]
            for name, made in zip(SOURCES, objects, strict=True)
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            done = [*pool.map(_run, commands)]
        if not any(one.returncode for one in done):
            done = [_run([compiler, *flags, "-shared", *objects, "-o", str(out)])]
        failed = [one for one in done if one.returncode]
        if not failed:
            return
    one = failed[0]
    raise subprocess.CalledProcessError(one.returncode, one.args, one.stdout, one.stderr[-2000:])


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def _whole(path: Path) -> bool:
    """Whether the file ends with its own hash: loading half a library would kill the process."""
    if not path.exists():
        return False
    data = path.read_bytes()
    return hashlib.sha256(data[:-32]).digest() == data[-32:]


def _processor() -> str:
    """What decides which instructions -march=native uses: a cache folder may be shared by machines."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    return f"{platform.machine()} {platform.processor()}"
