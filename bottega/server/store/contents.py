"""The contents of files on disk: whole or not there, under ids of the server's making."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sqlalchemy import select

from bottega.server.store.store import Body, Store
from bottega.server.store.tables import Object

# Nothing else is ever swept, because somebody may have named a folder that holds other things.
_OURS = re.compile(r"file-[0-9a-f]{32}|\.[0-9a-f]{32}\.part")
_LEFTOVER_SECONDS = 86_400  # the age from which a content without an owner is no upload under way


def describe(filename: str, purpose: str, size: int, expires_after: int | None = None) -> Body:
    """The file object of a new file; `expires_after` in seconds."""
    now = int(time.time())
    return {
        "id": f"file-{uuid.uuid4().hex}",
        "object": "file",
        "bytes": size,
        "created_at": now,
        "expires_at": None if expires_after is None else now + expires_after,
        "filename": filename,
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
    }


@contextmanager
def draft(store: Store) -> Iterator[IO[bytes]]:
    """A new content to write. It is gone with the block unless `keep` gave it a name."""
    path = store.files / f".{uuid.uuid4().hex}.part"
    try:
        with path.open("w+b") as file:
            yield file
    finally:
        path.unlink(missing_ok=True)


def keep(store: Store, file: IO[bytes], id: str) -> None:
    """Close a draft and give it its id: after a kill or a power cut it is there, or it is not."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
    Path(file.name).replace(store.files / id)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(store.files, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def add_file(store: Store, file: IO[bytes], body: Body, owner: str) -> None:
    """Keep a draft as the file that `body` describes. The content comes first: no file is without one."""
    keep(store, file, body["id"])
    store.put("file", body["id"], body, owner)


def seed_file(store: Store, content: bytes, body: Body, owner: str = "") -> None:
    """Keep a small content as a file, in place of one with the same id."""
    delete_file(store, body["id"], owner)
    with draft(store) as file:
        file.write(content)
        add_file(store, file, body, owner)


def delete_file(store: Store, id: str, owner: str) -> bool:
    """Forget a file and its content; whether there was one."""
    if not store.delete("file", id, owner):
        return False
    (store.files / id).unlink(missing_ok=True)
    return True


def sweep(store: Store) -> int:
    """Delete expired files, and contents that a kill left without a file; how many contents went."""
    with store.writing() as session:
        dead = select(Object).where(Object.kind == "file", Object.expires <= int(time.time()))
        for row in session.scalars(dead).all():
            session.delete(row)
    with store.reading() as session:
        known: set[Any] = set(session.scalars(select(Object.id).where(Object.kind == "file")))
    old = time.time() - _LEFTOVER_SECONDS
    ours = [path for path in store.files.iterdir() if _OURS.fullmatch(path.name)]
    gone = [path for path in ours if path.name not in known and _written(path) < old]
    for path in gone:
        path.unlink(missing_ok=True)
    return len(gone)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another server was faster
        return float("inf")
