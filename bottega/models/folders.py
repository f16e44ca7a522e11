"""Folders of the models whose architecture is our own: config.json and model.safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, nn

from bottega.data.disk import atomic_file, write_json
from bottega.errors import InputError
from bottega.interop.locate import read_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C")


def write_model(
    folder: str | Path, model_type: str, config: DataclassInstance, tensors: Mapping[str, Tensor]
) -> None:
    """Write the weights, then the configuration, each whole or not at all."""
    from safetensors.torch import save

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / "model.safetensors") as file:
        file.write(save({name: tensor.detach().contiguous() for name, tensor in tensors.items()}))
    write_json(folder / "config.json", {"model_type": model_type, **asdict(config)})


def read_config(folder: str | Path, model_type: str, kind: type[C]) -> C:
    """The configuration in a folder; fields that it does not know are other programs' business.

    Raises InputError where the folder holds another kind of model, or a value that makes no sense.
    """
    settings = read_json(Path(folder) / "config.json")
    if settings.get("model_type") != model_type:
        raise InputError(f"{folder} holds a {settings.get('model_type')!r}, not a {model_type!r}")
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    known: dict[str, Any] = {name: value for name, value in settings.items() if name in names}
    try:
        return kind(**known)
    except (TypeError, InputError) as error:
        raise InputError(f"{folder}: config.json: {error}") from None


def read_weights(folder: str | Path, model: nn.Module) -> None:
    """Bring a folder's weights into a model of its configuration; InputError where they do not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(folder) / "model.safetensors"
    try:
        model.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise InputError(f"{folder} has no model.safetensors; copy it again or train again") from None
    except (SafetensorError, OSError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise InputError(f"{path} is damaged ({why}); copy it again or train again") from None
