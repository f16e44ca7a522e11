"""Folders of the models whose architecture is our own: config.json and model.safetensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from torch import Tensor, nn

from bottega.data.disk import atomic_file, disk_errors, write_json
from bottega.errors import InputError
from bottega.interop.folder import read_stored
from bottega.interop.locate import read_json
from bottega.interop.tensors import Shape, compare_shapes
from bottega.nn.undrawn import undrawn

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C")
M = TypeVar("M", bound=nn.Module)

_LARGEST = 2**31  # of whole numbers: no size of a model comes near


def write_model(
    folder: str | Path, model_type: str, config: DataclassInstance, tensors: Mapping[str, Tensor]
) -> None:
    """Write the weights, then the configuration, each whole or not at all; WorkError where it cannot."""
    from safetensors.torch import save

    folder = Path(folder)
    with disk_errors(folder):
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
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind) if field.name in settings]  # type: ignore[arg-type]
    for name in names:
        if not _is(settings[name], hints[name]):
            raise InputError(f"{folder}: config.json: {name} is {settings[name]!r}, which it cannot be")
    try:
        return kind(**{name: _held(settings[name]) for name in names})
    except (TypeError, InputError) as error:
        raise InputError(f"{folder}: config.json: {error}") from None


def _held(value: Any) -> Any:
    """The value of a frozen field: JSON has lists where we have tuples."""
    return tuple(value) if isinstance(value, list) else value


def _is(value: Any, hint: Any) -> bool:
    """Whether a value from a JSON file is of the type that a field has; numbers are finite."""
    if get_origin(hint) in (Union, UnionType):
        return any(_is(value, one) for one in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:  # of any length, all of one kind
        return isinstance(value, list) and all(_is(one, get_args(hint)[0]) for one in value)
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is hint and not (hint is int and abs(value) >= _LARGEST)


def read_model(folder: str | Path, model_type: str, kind: type[C], make: Callable[[C], M]) -> M:
    """The model of a folder: what `make` makes of its configuration, with its weights in fp32, for use.

    Nothing is allocated before the file is known to hold what the configuration says. Raises InputError where
    the folder is damaged or holds another kind of model.
    """
    config = read_config(folder, model_type, kind)
    shapes, read = read_stored(Path(folder))
    for name, value in asdict(config).items():  # type: ignore[call-overload]
        if name.endswith("layer") and value > len(shapes):
            raise InputError(f"{folder}: config.json: {name} is {value:,}, but the weights are {len(shapes)}")
    try:
        with undrawn():
            model = make(config)
    except RuntimeError:  # sizes whose product no machine can count
        raise InputError(f"{folder}: config.json asks for matrices larger than any memory") from None
    expected: dict[str, Shape] = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    try:
        compare_shapes(expected, shapes, {name: name for name in shapes})
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    model.load_state_dict({name: tensor.float() for name, tensor in read().items()}, assign=True)
    return model.eval()
