"""What JSON from a client must be, in a body or a file: bounded in depth, its numbers in doubles."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from bottega.server.errors import ApiError

MAX_DEPTH = 64  # OpenAI's schemas nest up to 10 levels; what reads a body recursively can bear this


class JsonFault(ValueError):
    """What is wrong with a text that should be JSON, behind "it", and its code among OpenAI's errors."""

    def __init__(self, message: str, code: str = "invalid_json") -> None:
        super().__init__(message)
        self.code = code


def check_json(body: bytes) -> None:
    """Raise ApiError (400) unless the body is one JSON text that every route can read and store."""
    try:
        read_json(body)
    except JsonFault as fault:
        raise ApiError(f"The body {fault}.", None, fault.code) from None


def read_json(text: bytes) -> Any:
    """The value of a JSON text that a client sent; raises JsonFault.

    NaN, Infinity and numbers beyond 64-bit floats are no JSON that another program could read again.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError:
        raise JsonFault("is not valid UTF-8") from None
    except ValueError as error:
        said = str(error).split(";")[0]  # behind it Python names a setting of its own
        raise JsonFault(f"is not valid JSON: {said}") from None
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for one in level for child in _children(one)]
        if not level:
            return value
    raise _too_deep()


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value
    elif isinstance(value, int | float) and not _fits(value):
        raise JsonFault("holds a number beyond 64-bit floats", "invalid_value")


def _fits(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _too_deep() -> JsonFault:
    return JsonFault(f"is nested deeper than {MAX_DEPTH} levels")
