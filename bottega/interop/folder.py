"""Checkpoint folders in the Hugging Face layout: read with every check, written whole or not at all.

Weights are read from safetensors alone. Pickled weights (`.bin`, `.pt`) are never opened, because that can
run code; code that a checkpoint names (`auto_map`) is neither fetched nor run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bottega.errors import InputError, WorkError
from bottega.interop.configs import OWN, config_from_huggingface
from bottega.interop.locate import DOCUMENTS, INDEX, TOKENIZER_FILES, WEIGHTS, line, locate, read_json
from bottega.interop.tensors import Shape, check_shapes

PICKLED = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
DTYPES = ("F32", "F16", "BF16")


def read_folder(path_or_repo: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config.json and the tensors, as stored, of a GPT's folder or Hub repository.

    Everything is checked against the configuration before the first tensor is read. Raises InputError (one
    line, naming the file) for whatever is missing, damaged, or not what the configuration says.
    """
    folder = locate(path_or_repo)
    hf = read_json(folder / "config.json")
    with _naming(folder):
        config_from_huggingface(hf)
    shards = weight_files(folder)
    headers = {name: shape for shard in shards for name, shape in _header(shard).items()}
    with _naming(folder):
        check_shapes(hf, headers)
    return hf, {name: tensor for shard in shards for name, tensor in _tensors(shard).items()}


def read_stored(
    folder: Path, ignore: re.Pattern[str] | None = None
) -> tuple[dict[str, Shape], Callable[[], dict[str, Tensor]]]:
    """The shapes of all tensors in a folder, and what reads the tensors: shapes can be checked before.

    Names that `ignore` finds are passed over. Raises InputError for files that are missing or damaged.
    """
    shards = weight_files(folder)
    shapes = {name: shape for shard in shards for name, shape in _header(shard, ignore).items()}
    return shapes, lambda: {
        name: t for shard in shards for name, t in _tensors(shard).items() if name in shapes
    }


def write_folder(
    folder: str | Path,
    hf_config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    card: str = "",
    generation: Mapping[str, Any] | None = None,
    files_from: Path | None = None,
    readme: str | None = None,
) -> None:
    """Write config.json, model.safetensors, generation_config.json and a model card; all of it or nothing.

    `tensors` carry the names of the configuration's architecture; `card` is a paragraph of the model card;
    `readme` is all of it, for a model that generates nothing (and has no generation_config.json);
    `generation` goes into generation_config.json beside the token ids of the configuration; `files_from` is a
    folder whose tokenizer and own model card come along. Raises WorkError where it cannot be written.
    """
    folder = Path(folder)
    name = folder.absolute().name.removeprefix(".")
    draft = folder.absolute().with_name(f".{name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        _check_space(draft, tensors)
        widest = reduce(torch.promote_types, (tensor.dtype for tensor in tensors.values()))
        dtype = str(widest).removeprefix("torch.")
        config = dict(hf_config) | {"dtype": dtype, "torch_dtype": dtype}
        save_file(dict(tensors), draft / WEIGHTS, metadata={"format": "pt"})
        ids = {name: config[name] for name in TOKEN_IDS if config.get(name) is not None}
        if readme is None:
            _write_json(draft / "generation_config.json", {**(generation or {}), **ids})
            readme = _model_card(config, tensors, card)
        (draft / "README.md").write_text(readme, encoding="utf-8")
        # The library writes files that their owner alone may read; a server is often another user.
        (draft / WEIGHTS).chmod((draft / "README.md").stat().st_mode)
        if files_from is not None:
            for path in (files_from / name for name in (*TOKENIZER_FILES, *DOCUMENTS)):
                if path.is_file():
                    shutil.copyfile(path, draft / path.name)
        _write_json(draft / "config.json", config)
        _put_in_place(draft, folder)
    except (OSError, SafetensorError) as error:
        raise WorkError(f"{folder} could not be written ({line(error)}); nothing was left there") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint: one, or those that its index names."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
        if pickled:
            raise InputError(
                f"{folder} has only pickled weights ({pickled[0]}), and opening a pickle can run any code; "
                "give a safetensors version of this checkpoint"
            )
        raise InputError(
            f"{folder} has no {WEIGHTS}; weights are read from safetensors files only, never from .bin"
        )
    where = read_json(folder / INDEX).get("weight_map")
    if not isinstance(where, dict) or not where or not all(isinstance(name, str) for name in where.values()):
        raise InputError(
            f"{folder / INDEX} has no weight_map from tensors to files; copy or download it again"
        )
    names = sorted(set(where.values()))
    for name in names:
        if not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name):
            raise InputError(
                f"{folder / INDEX} names {name!r}; expected .safetensors files in the same folder"
            )
        if not (folder / name).is_file():
            raise InputError(f"{folder} has no {name}, which {INDEX} names; copy or download it again")
    for name in names:
        _check_index(folder / name, {tensor for tensor, file in where.items() if file == name})
    return [folder / name for name in names]


def _check_index(shard: Path, listed: set[str]) -> None:
    """So each tensor is in one shard, the one that the index says."""
    odd = sorted(listed.symmetric_difference(_header(shard)))
    if odd:
        state = "lacks" if odd[0] in listed else "holds an unlisted"
        raise InputError(f"{shard} {state} {odd[0]}, against {INDEX}; copy or download both again")


def _header(path: Path, ignore: re.Pattern[str] | None = None) -> dict[str, Shape]:
    """Names and shapes; the library checks lengths, offsets and overlaps against the file's size."""
    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if not (ignore and ignore.search(name))]  # noqa: SIM118
            slices = {name: file.get_slice(name) for name in names}
            odd = [name for name, part in slices.items() if part.get_dtype() not in DTYPES]
            if odd:
                kind = slices[odd[0]].get_dtype()
                raise InputError(f"{path}: {odd[0]} is stored as {kind}; expected one of {', '.join(DTYPES)}")
            return {name: tuple(part.get_shape()) for name, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged ({line(error)}); copy or download it again") from None


def _tensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)


def _check_space(draft: Path, tensors: Mapping[str, Tensor]) -> None:
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) + (1 << 20)
    free = shutil.disk_usage(draft).free
    if free < needed:
        raise WorkError(
            f"the checkpoint needs {needed >> 20} MB and the disk of {draft.parent} has {free >> 20} MB"
        )


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _put_in_place(draft: Path, folder: Path) -> None:
    """A new folder appears at once; in one that exists the files are swapped, the configuration last."""
    if not folder.exists():
        draft.rename(folder)
        return
    for path in sorted(draft.iterdir(), key=lambda path: path.name == "config.json"):
        path.replace(folder / path.name)


def _model_card(config: Mapping[str, Any], tensors: Mapping[str, Tensor], card: str) -> str:
    count = sum(tensor.numel() for tensor in tensors.values())
    data = f"{card.strip()}\n\n" if card else ""
    kind, dtype = config["model_type"], config["dtype"]
    library = "bottega" if kind == OWN else "transformers"
    opening = (
        'It opens in `transformers` (`AutoModelForCausalLM.from_pretrained("FOLDER")`) and here'
        if library == "transformers"
        else "`transformers` has no architecture for it; it opens here"
    )
    return (
        f"---\nlibrary_name: {library}\npipeline_tag: text-generation\n---\n\n# A language model ({kind})\n\n"
        f"{count:,} parameters in {dtype}.\n\n{data}"
        f'{opening}: `bottega generate FOLDER "Once upon a time"`.\n'
    )


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Say in which folder it was."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
