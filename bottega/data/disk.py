"""Writing files whole or not at all, with errors that a user can act on."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from bottega.errors import WorkError


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when it is complete, or never; raises `WorkError` if it cannot."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with disk_errors(path):
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` as JSON, atomically."""
    with atomic_file(path) as file:
        file.write(json.dumps(value, indent=1).encode())


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the system's error (disk full, no permission) into a `WorkError` that names `path`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise WorkError(f"cannot write {path}: {reason}; make room or choose another folder") from None
