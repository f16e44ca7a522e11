"""What every JSON body must be, whatever its route: bounded in depth, of numbers that a double can hold."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from bottega.server.errors import ApiError

MAX_DEPTH = 64  # OpenAI's schemas nest up to 10 levels; what reads a body recursively can bear this


def check_json(body: bytes) -> None:
    """Raise ApiError (400) unless the body is one JSON text that every route can read and store.

    NaN, Infinity and numbers beyond 64-bit floats are no JSON that another program could read again.
    """
    try:
        level = [json.loads(body, parse_constant=_no_constant)]
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError:
        raise ApiError("The body is not valid UTF-8.", None, "invalid_json") from None
    except ValueError as error:
        fault = str(error).split(";")[0]  # behind it Python names a setting of its own
        raise ApiError(f"The body is not valid JSON: {fault}.", None, "invalid_json") from None
    for _ in range(MAX_DEPTH + 1):
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise _too_deep()


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value
    elif isinstance(value, int | float) and not _fits(value):
        raise ApiError("The body holds a number beyond 64-bit floats.", None, "invalid_value")


def _fits(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _too_deep() -> ApiError:
    return ApiError(f"The body is nested deeper than {MAX_DEPTH} levels.", None, "invalid_json")
