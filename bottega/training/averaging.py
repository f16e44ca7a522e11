"""The mean of a run's last checkpoints (Vaswani et al. 2017, section 6.1)."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bottega.errors import InputError, WorkError
from bottega.interop.locate import TOKENIZER_FILES, read_json
from bottega.training.checkpoints import damaged


def average(run: Path, last: int, out: Path) -> list[Path]:
    """Write into `out` the mean of the `last` checkpoints in `run`; return which those were.

    It is a model's folder, tokenizer and all, but holds no state to train on from. Raises InputError where
    the run holds fewer checkpoints, they are of different models, or `out` is there already; WorkError where
    it cannot be written.
    """
    if last < 1:
        raise InputError(f"last must be at least 1, not {last}")
    if out.exists():
        raise InputError(f"{out} is there already; name another --out")
    steps = sorted(run.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
    if not steps:
        raise InputError(f"{run} holds no checkpoints; give the run of a network, not of a model that counts")
    if len(steps) < last:
        raise InputError(
            f"{run} holds {len(steps)} checkpoints, and {last} were asked for; ask for fewer, or train with "
            "a larger --keep and a smaller --save-seconds"
        )
    chosen = steps[-last:]
    configs = [read_json(folder / "config.json") for folder in chosen]
    if any(config != configs[-1] for config in configs):
        raise InputError(f"{run}: its checkpoints are of different models; average those of one")
    _write(out, chosen[-1], _mean(chosen))
    return chosen


def _mean(folders: list[Path]) -> dict[str, Tensor]:
    """Sums in fp64, so that the order does not count; back in the dtype that they are stored in."""
    sums: dict[str, Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    for folder in folders:
        try:
            tensors = load_file(folder / "model.safetensors")
        except (OSError, SafetensorError) as error:
            raise damaged(folder, str(error)) from None
        for name, tensor in tensors.items():
            sums[name] = sums[name].add_(tensor) if name in sums else tensor.double()
            dtypes[name] = tensor.dtype
    return {name: (total / len(folders)).to(dtypes[name]) for name, total in sums.items()}


def _write(out: Path, like: Path, tensors: dict[str, Tensor]) -> None:
    draft = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        save_file(tensors, draft / "model.safetensors", metadata={"format": "pt"})
        for name in (*TOKENIZER_FILES, "README.md", "config.json", "generation_config.json"):
            if (like / name).is_file():
                shutil.copyfile(like / name, draft / name)
        draft.rename(out)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise WorkError(f"{out} cannot be written ({error.strerror}); make room or name another") from None
