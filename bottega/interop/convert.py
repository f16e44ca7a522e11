"""Checkpoints brought in from elsewhere as a run of ours, and written out for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bottega.errors import InputError
from bottega.interop.folder import TOKEN_IDS, read_folder, write_folder
from bottega.interop.huggingface import (
    checkpoint_config,
    config_from_huggingface,
    config_to_huggingface,
    state_from_huggingface,
    state_to_huggingface,
)
from bottega.interop.locate import read_json
from bottega.text.tokenizer import Tokenizer


def import_checkpoint(folder: Path, run: Path, source: str) -> Path:
    """Check a GPT's folder and write it as step 0 of a new run; return the step's folder.

    The dtype of the weights stays, the tokenizer's files come along unchanged, and `source` (where it came
    from) goes into the model card unless the checkpoint brings its own. Raises InputError where the folder is
    damaged or holds what our GPT does not compute, or where `run` is not empty; WorkError where it cannot be
    written.
    """
    _check_empty(run)
    hf, tensors = read_folder(folder)
    config = checkpoint_config(config_from_huggingface(hf)) | _kept(hf, folder)
    state = state_from_huggingface(hf, tensors)
    step = run / "step-0"
    write_folder(
        step,
        config,
        state_to_huggingface(config, state),
        card=f"Imported from {source}.",
        generation=_generation(folder),
        files_from=folder,
    )
    return step


def export_huggingface(folder: Path, out: Path) -> str:
    """Write a GPT as a folder that `transformers` opens without code of ours; return its architecture.

    Raises InputError with the reason where no architecture there can say the model, or where `out` is not
    empty; WorkError where it cannot be written.
    """
    _check_empty(out)
    hf, tensors = read_folder(folder)
    config = config_to_huggingface(config_from_huggingface(hf)) | _kept(hf, folder)
    state = state_to_huggingface(config, state_from_huggingface(hf, tensors))
    write_folder(out, config, state, generation=_generation(folder), files_from=folder)
    return str(config["architectures"][0])


def _kept(hf: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Where texts begin and end, as the checkpoint says, else as its tokenizer does; and its fim_rate."""
    given = {name: hf[name] for name in (*TOKEN_IDS, "fim_rate") if hf.get(name) is not None}
    if "eos_token_id" in given:
        return given
    try:
        end = Tokenizer.load(folder).end_of_text
    except InputError:  # there is no tokenizer that we read, and the model is worth having without one
        return given
    return {"bos_token_id": end, "eos_token_id": end} | given


def _generation(folder: Path) -> dict[str, Any]:
    path = folder / "generation_config.json"
    return read_json(path) if path.is_file() else {}


def _check_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not empty; give a new folder")
