"""Values of a config.json, each checked. Every complaint names the field; null means that it is absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bottega.errors import InputError

_MISSING: Any = object()


def _value(hf: Mapping[str, Any], name: str, default: Any) -> Any:
    value = default if hf.get(name) is None else hf[name]
    if value is _MISSING:
        raise InputError(f"config.json has no {name}; without it the weights cannot be read")
    return value


def size(hf: Mapping[str, Any], name: str, default: Any = _MISSING, most: int = 2**31 - 1) -> int:
    """A count of at least one."""
    value = _value(hf, name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise InputError(f"config.json: {name} is {value!r}; expected a whole number from 1 to {most}")
    return value


def number(hf: Mapping[str, Any], name: str, default: Any = _MISSING) -> Any:
    """A finite number above zero, as it stands: an int stays one."""
    value = _value(hf, name, default)
    if not _is_number(value) or not 0 < value < float("inf"):
        raise InputError(f"config.json: {name} is {value!r}; expected a number above 0")
    return value


def rate(hf: Mapping[str, Any], name: str, default: float) -> Any:
    """A share: from 0 to below 1."""
    value = _value(hf, name, default)
    if not _is_number(value) or not 0 <= value < 1:
        raise InputError(f"config.json: {name} is {value!r}; expected a number from 0 to below 1")
    return value


def flag(hf: Mapping[str, Any], name: str, default: bool) -> bool:
    """True or false."""
    value = _value(hf, name, default)
    if not isinstance(value, bool):
        raise InputError(f"config.json: {name} is {value!r}; expected true or false")
    return value


def require(hf: Mapping[str, Any], name: str, allowed: tuple[Any, ...], why: str, default: Any = None) -> Any:
    """One of the allowed values (the first is the default's default); `why` says why no other will do."""
    value = _value(hf, name, allowed[0] if default is None else default)
    if value not in allowed:
        raise InputError(f"config.json: {name} is {value!r}, which cannot be honoured: {why}")
    return value


def divides(width: int, heads: int, width_name: str, heads_name: str) -> None:
    """InputError unless each head gets the same share of the width."""
    if width % heads:
        raise InputError(f"config.json: {width_name} {width} is not a multiple of {heads_name} {heads}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
