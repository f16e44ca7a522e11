"""`bottega keys`: who may use a server, and how much."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName

if TYPE_CHECKING:
    from bottega.server.store import Store

DESCRIPTION = """Make, list and revoke the keys of a server. Once there is one, every request needs one.

Example: bottega keys create bardi --requests-per-minute 60"""


def main(argv: list[str]) -> None:
    """Run `create`, `list` or `revoke`."""
    tyro.extras.subcommand_cli_from_dict(
        {"create": _create, "list": _list, "revoke": _revoke},
        args=argv,
        prog="bottega keys",
        description=DESCRIPTION,
        config=(FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone),
    )


def _create(
    name: Positional[str],
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    state: str | None = None,
) -> None:
    """Make a key. It is shown once: only its hash is kept.

    Example: bottega keys create bardi --tokens-per-minute 10000

    Args:
        name: what to call it in the list, such as its holder.
        requests_per_minute: how many requests it may make a minute; without a number, any.
        tokens_per_minute: how many tokens, read and written, it may use a minute; without a number, any.
        state: the server's state: a folder or a postgresql:// URL; by default the user's own folder.
    """
    from bottega.server.store.keys import create_key

    store = _open(state)
    id, key = create_key(store, name, requests_per_minute, tokens_per_minute)
    store.close()
    print(f"{key}\n\nThis is the key {id} ({name}). It is shown only now; keep it like a password.")


def _list(state: str | None = None) -> None:
    """List the keys and what each has used.

    Args:
        state: the server's state: a folder or a postgresql:// URL; by default the user's own folder.
    """
    from bottega.server.store.keys import list_keys

    store = _open(state)
    keys = list_keys(store)
    store.close()
    if not keys:
        print("There are no keys, so this machine may ask anything. Make one: bottega keys create NAME")
        return
    rows: list[tuple[str, ...]] = [
        ("id", "created", "requests", "prompt tokens", "completion tokens", "limits", "", "name")
    ]
    for key in keys:
        limits = {"requests": key.requests_per_minute, "tokens": key.tokens_per_minute}
        said = ", ".join(f"{limit:,} {what}/min" for what, limit in limits.items() if limit is not None)
        used = [f"{n:,}" for n in (key.used.requests, key.used.prompt_tokens, key.used.completion_tokens)]
        revoked = f"revoked {_date(key.revoked)}" if key.revoked is not None else ""
        rows.append((key.id, _date(key.created), *used, said or "none", revoked, key.name))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _revoke(id: Positional[str], state: str | None = None) -> None:
    """Make a key useless at once, also for a server that is running. What it used stays in the list.

    Example: bottega keys revoke 3f9a01c2b4d5

    Args:
        id: the key's id, as `bottega keys list` shows it.
        state: the server's state: a folder or a postgresql:// URL; by default the user's own folder.
    """
    from bottega.server.store.keys import revoke_key

    store = _open(state)
    revoke_key(store, id)
    store.close()
    print(f"The key {id} is revoked.")


def _open(state: str | None) -> Store:
    from bottega.server.store import open_state

    return open_state(state)


def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
