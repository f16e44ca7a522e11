"""What the symbols of a model stand for: symbols.json in its folder, a list of names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bottega.data.disk import atomic_file
from bottega.errors import InputError


def write_symbols(folder: str | Path, names: Sequence[str]) -> None:
    """Write the name of each symbol or feature beside a model."""
    with atomic_file(Path(folder) / "symbols.json") as file:
        file.write(json.dumps(list(names), ensure_ascii=False).encode())


def read_symbols(folder: str | Path, size: int) -> list[str]:
    """The names of a model's `size` symbols, or their numbers where the folder names none.

    Raises InputError where the file is damaged.
    """
    path = Path(folder) / "symbols.json"
    try:
        names = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return [str(number) for number in range(size)]
    except ValueError:
        names = None
    if not isinstance(names, list) or len(names) != size or not all(isinstance(one, str) for one in names):
        raise InputError(f"{path} is damaged; expected a list of {size} names: train the model again")
    return names
