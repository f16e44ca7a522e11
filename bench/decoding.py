"""How fast are tokens decoded, and how near is that to what the memory can deliver?

GPT-2 124M with random weights, exported to each peer; 128 tokens in, 128 greedy tokens out, for one stream
and for eight. Every decoder is a process of its own that waits while the others run; the rounds go through
all of them in turn, and the median of the rounds counts. Decoding is timed from the first token to the last,
prompts until the first token of all streams. The share is of the speed at which the weights of one step could
be read if nothing else were done, at the reading bandwidth measured in the same rounds.

    python -m venv ../peers && ../peers/bin/pip install llama-cpp-python ctranslate2 torch numpy
    python bench/decoding.py --peers-python ../peers/bin/python      # under eight minutes
    python bench/decoding.py --quick                                 # one round, little to decode; no record
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from report import median_of, record

DECODERS = Path(__file__).parent / "decoders.py"
# The bits that each weight of a matrix takes where it is read, scales included. For q4_0 the mean over
# GPT-2 124M: its quantiser keeps the output's matrix at 6.5625 bits.
BITS = {"fp32": 32, "f32": 32, "bf16": 16, "int8": 8, "q8_0": 8.5, "int4": 4.5, "q4_0": 5.14}


@dataclass(frozen=True)
class Bench:
    """Ours beside transformers, and beside llama.cpp and CTranslate2 where they are installed."""

    peers_python: Path | None = None
    """The interpreter that has llama-cpp-python and ctranslate2; without one they are left out."""
    device: str = "cpu"
    """Where all of them run: cpu or cuda"""
    flags: str = ""
    """What our kernels are compiled with, such as -march=haswell, to see what an older processor gets. The
    environment's LLAMA_CPP_LIB_PATH names a llama.cpp that was built likewise."""
    threads: int = 2
    rounds: int = 3
    prompt: int = 128
    new: int = 128
    streams: tuple[int, ...] = (1, 8)
    only: tuple[str, ...] = ()
    """Decoders to run, such as "ours int8"; default: all."""
    quick: bool = False


class Decoder:
    """A process that decodes when asked."""

    def __init__(self, python: Path, name: str, kind: str, folder: Path, setup: dict[str, Any]) -> None:
        self.name, self.kind = name, kind
        command = [str(python), str(DECODERS), name, kind, str(folder), json.dumps(setup)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()  # that it is ready

    def answer(self) -> dict[str, Any]:
        """Its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} {self.kind} ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __call__(self, streams: int, prompt: int, new: int) -> tuple[float, float]:
        """Tokens a second: decoding, and reading prompts."""
        assert self.process.stdin is not None
        print(
            json.dumps({"streams": streams, "prompt": prompt, "new": new}),
            file=self.process.stdin,
            flush=True,
        )
        took = self.answer()
        return streams * (new - 1) / (took["all"] - took["first"]), streams * prompt / took["first"]

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def export(folder: Path, peers: bool) -> int:
    """Write GPT-2 124M, drawn anew, in each form that is read here; return how many weights a step reads."""
    from safetensors.numpy import load_file

    from bottega.interop.gguf_file import export_gguf
    from bottega.models.gpt import GPT
    from bottega.recipes.gpt import SHAPES
    from bottega.text.tokenizer import Tokenizer

    torch.manual_seed(0)
    model = GPT(SHAPES["gpt2-124m"])
    model.save_pretrained(folder)
    if peers:
        Tokenizer.train(["any text will do: ids are decoded " * 9], 270).save(folder)
        for weights in ("f32", "bf16", "q8_0"):
            export_gguf(folder, folder / f"{weights}.gguf", weights)
        tensors = load_file(folder / "model.safetensors")
        names = {name: name if name.startswith("transformer.") else f"transformer.{name}" for name in tensors}
        np.savez(folder / "weights.npz", **{names[name]: tensor for name, tensor in tensors.items()})
    return sum(matrix.numel() for matrix, _ in model.matrix_parameters()) + model.head_weight.numel()


def read_bandwidth(threads: int, device: str) -> float:
    """Bytes a second of a sum over more than any cache holds."""
    torch.set_num_threads(threads)
    data = torch.ones(2**26, device=device)
    return data.nbytes / median_of(lambda: data.sum().item(), 5)


def start(bench: Bench, folder: Path) -> list[Decoder]:
    """A process for each decoder that runs here."""
    here = Path(sys.executable)
    cases = [(here, "ours", kind) for kind in ("fp32", "bf16", "int8", "int4")]
    cases += [(here, "transformers", kind) for kind in ("fp32", "bf16")]
    if peers := bench.peers_python:
        cases += [(peers, "ctranslate2", kind) for kind in ("fp32", "int8")]
        cases += [(peers, "llama.cpp", kind) for kind in ("f32", "bf16", "q8_0", "q4_0")]
    wanted = [case for case in cases if not bench.only or f"{case[1]} {case[2]}" in bench.only]
    setup = {"threads": bench.threads, "device": bench.device, "flags": bench.flags}
    return [Decoder(*case, folder, setup) for case in wanted]


def main(bench: Bench) -> None:
    """Measure all decoders in turn, round by round."""
    rounds, new = (1, 16) if bench.quick else (bench.rounds, bench.new)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = export(folder, bench.peers_python is not None)
        decoders = start(bench, folder)
        speeds: dict[tuple[Decoder, int], list[tuple[float, float]]] = {}
        bandwidths = []
        for _ in range(rounds):
            bandwidths.append(read_bandwidth(bench.threads, bench.device))
            for decoder in decoders:
                for streams in bench.streams:
                    speed = decoder(streams, bench.prompt, new)
                    speeds.setdefault((decoder, streams), []).append(speed)
        for decoder in decoders:
            decoder.close()
    bandwidth = statistics.median(bandwidths)
    print(f"reading: {bandwidth / 1e9:.1f} GB/s")
    for decoder in decoders:
        row: dict[str, Any] = {"decoder": f"{decoder.name} {decoder.kind}"}
        for streams in bench.streams:
            decoding, prompts = (
                statistics.median(column) for column in zip(*speeds[decoder, streams], strict=True)
            )
            row |= {f"tokens/s, {streams}": decoding, f"prompt tokens/s, {streams}": prompts}
            if streams == 1:
                row["share of the bandwidth"] = decoding * weights * BITS[decoder.kind] / 8 / bandwidth
        row["GB/s read"] = bandwidth / 1e9
        print(row, flush=True)
        if not bench.quick:
            record("-".join(["decoding", *re.findall(r"\w+", bench.flags)]), row)


if __name__ == "__main__":
    main(tyro.cli(Bench, description=__doc__))
