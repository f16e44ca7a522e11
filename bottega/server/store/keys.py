"""API keys and what they used.

A key is `sk-bottega-ID-SECRET`. Only the SHA-256 of the whole is kept. A slow hash, as passwords need it,
would guard nothing here and cost every request: the secret is 256 random bits, which nobody tries one by one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import exists, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from bottega.errors import InputError
from bottega.server.store.store import Store
from bottega.server.store.tables import Key, Usage

PREFIX = "sk-bottega-"


@dataclass(frozen=True)
class Known:
    """A key that is valid: its id and how much it may ask a minute, None without a limit."""

    id: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


@dataclass(frozen=True)
class Used:
    """What a key used: how many requests, and the tokens read and written for them."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Used) -> Used:
        return Used(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True)
class Listed:
    """A key as its owner may see it. Times in seconds since 1970."""

    id: str
    name: str
    created: int
    revoked: int | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    used: Used


def create_key(
    store: Store, name: str, requests_per_minute: int | None = None, tokens_per_minute: int | None = None
) -> tuple[str, str]:
    """Make a key; its id and the key itself, which cannot be shown again."""
    for limit in (requests_per_minute, tokens_per_minute):
        if limit is not None and not 1 <= limit < 2**31:
            raise InputError(f"a limit is a number from 1 to {2**31 - 1}, not {limit}")
    id = secrets.token_hex(6)
    key = f"{PREFIX}{id}-{secrets.token_urlsafe(32)}"
    with store.writing() as session:
        session.add(
            Key(
                id=id,
                name=name,
                hash=_hash(key),
                created=int(time.time()),
                revoked=None,
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
            )
        )
    return id, key


def find_key(store: Store, key: str) -> Known | None:
    """The key that a client showed; None where it is wrong or revoked. Asked anew for every request."""
    id = key.removeprefix(PREFIX).partition("-")[0]
    if not (key.startswith(PREFIX) and key.isascii() and id.isalnum()):
        return None
    with store.reading() as session:
        row = session.get(Key, id)
        # In constant time: how long the comparison takes tells nothing of the hash.
        if row is None or not hmac.compare_digest(row.hash, _hash(key)) or row.revoked is not None:
            return None
        return Known(row.id, row.requests_per_minute, row.tokens_per_minute)


def any_key(store: Store) -> bool:
    """Whether a key was ever made; a revoked one counts, for revoking the last must not open the server."""
    # Without a session, which costs more than the query: where there is no key, every request asks.
    with store.database.connect() as connection:
        return bool(connection.scalar(_ANY))


def revoke_key(store: Store, id: str) -> None:
    """Make a key useless, at once and for every server of this state; InputError where there is none."""
    with store.writing() as session:
        changed = session.scalars(
            update(Key).where(Key.id == id).values(revoked=int(time.time())).returning(Key.id)
        ).all()
    if not changed:
        raise InputError(f"there is no key {id!r}; `bottega keys list` shows their ids")


def list_keys(store: Store) -> list[Listed]:
    """All keys in the order in which they were made, with what they used so far."""
    sums = [func.coalesce(func.sum(column), 0) for column in _COUNTS]
    with store.reading() as session:
        rows = session.execute(
            select(Key, *sums).outerjoin(Usage, Usage.key == Key.id).group_by(Key.id).order_by(Key.created)
        )
        return [
            Listed(
                key.id,
                key.name,
                key.created,
                key.revoked,
                key.requests_per_minute,
                key.tokens_per_minute,
                Used(*map(int, counts)),
            )
            for key, *counts in rows
        ]


def add_usage(store: Store, used: Mapping[str, Used]) -> None:
    """Add to what keys used today (UTC)."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    dialect = postgresql if store.database.dialect.name == "postgresql" else sqlite
    with store.writing() as session:
        for key, one in sorted(used.items()):  # in one order, so that two servers do not wait for each other
            values = {
                "requests": one.requests,
                "prompt_tokens": one.prompt_tokens,
                "completion_tokens": one.completion_tokens,
            }
            row = dialect.insert(Usage).values(key=key, day=day, **values)
            added = {column.key: column + row.excluded[column.key] for column in _COUNTS}
            session.execute(row.on_conflict_do_update(index_elements=["key", "day"], set_=added))


_ANY = select(exists().where(Key.id.is_not(None)))
_COUNTS = (Usage.requests, Usage.prompt_tokens, Usage.completion_tokens)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
