"""Who sends a request: the key that it came with decides what it may see and whose cache it shares."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import HTTPConnection


@dataclass(frozen=True)
class Caller:
    """The owner of what a request makes. Both fields are empty where the server has no keys."""

    id: str = ""
    salt: str = ""  # prompts share cached prefixes only under one salt: timing tells nothing of others

    @classmethod
    def of(cls, key_id: str) -> Caller:
        """The caller who holds a key; every key has a salt of its own."""
        return cls(key_id, f"key:{key_id}" if key_id else "")


def caller(request: HTTPConnection) -> Caller:
    """The caller of a request, as the guard found it."""
    found = request.scope.get("state", {}).get("caller")
    return found if isinstance(found, Caller) else Caller()
