"""The server's objects: bodies as JSON, each of one kind, of one owner, found by id or by metadata.

Every method waits for the database: routes call them through `asyncio.to_thread`.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Select, delete, exists, insert, or_, select
from sqlalchemy.orm import Session, aliased

from bottega.errors import InputError
from bottega.server.store.database import WRITING, is_url, open_database
from bottega.server.store.tables import Label, Object

Body = dict[str, Any]

_LONGEST_FIELD = 512  # characters as JSON; what is longer is a content, not a name


class Store:
    """The state of a server: objects in a database, the contents of files in a folder.

    `state` is a folder, or a PostgreSQL URL; `files` is the folder of the contents, by default in the former.
    """

    def __init__(self, state: str | Path, files: str | Path | None = None) -> None:
        if files is None and is_url(str(state)):
            raise InputError("with a database by URL, say where the contents of files go: --files FOLDER")
        self.database = open_database(str(state))
        self.files = Path(state) / "files" if files is None else Path(files)
        self.files.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    @classmethod
    def temporary(cls) -> Store:
        """A store that is forgotten with the object."""
        folder = tempfile.TemporaryDirectory(prefix="bottega-", ignore_cleanup_errors=True)
        store = cls(folder.name)
        store._temporary = folder
        return store

    def close(self) -> None:
        """Close the connections to the database."""
        self.database.dispose()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that only reads."""
        with Session(self.database) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that writes: committed at the end, undone by an exception."""
        with (
            self.database.connect().execution_options(**WRITING) as connection,
            connection.begin(),
            Session(connection, join_transaction_mode="rollback_only") as session,
        ):
            yield session
            session.flush()

    def put(self, kind: str, id: str, body: Body, owner: str = "") -> None:
        """Keep a new object. `list` finds it by its `metadata`; after its `expires_at` a file is gone."""
        with self.writing() as session:
            put(session, kind, id, body, owner)

    def get(self, kind: str, id: str, owner: str = "") -> Body | None:
        """The body of an object; None where there is none, or it is another's."""
        with self.reading() as session:
            found = _find(session, kind, id, owner)
            return found.body if found else None

    def update(self, kind: str, id: str, body: Body, owner: str = "") -> bool:
        """Replace an object's body; whether there was one."""
        with self.writing() as session:
            found = _find(session, kind, id, owner)
            if found:
                replace(session, found, body)
            return found is not None

    def delete(self, kind: str, id: str, owner: str = "") -> bool:
        """Forget an object; whether there was one."""
        with self.writing() as session:
            found = _find(session, kind, id, owner)
            if found:
                session.delete(found)
            return found is not None

    def list(
        self,
        kind: str,
        owner: str = "",
        *,
        limit: int = 20,
        after: str | None = None,
        order: Literal["asc", "desc"] = "desc",
        where: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> tuple[list[Body], bool]:
        """A page of an owner's objects in the order in which they were made, and whether more follow.

        `after` is the id of the last object of the page before (InputError where there is none), `where` are
        pairs that the metadata must have, `fields` short texts that the body must have.
        """
        with self.reading() as session:
            query = _filtered(kind, owner, _labels({**(fields or {}), "metadata": where}))
            if after is not None:
                last = _find(session, kind, after, owner)
                if last is None:
                    raise InputError(f"'after': there is no {kind} {after!r}")
                query = query.where(
                    Object.number > last.number if order == "asc" else Object.number < last.number
                )
            ordered = query.order_by(Object.number if order == "asc" else Object.number.desc())
            rows = session.scalars(ordered.limit(limit + 1)).all()
            return [row.body for row in rows[:limit]], len(rows) > limit


def put(session: Session, kind: str, id: str, body: Body, owner: str) -> None:
    """Add an object within a transaction that also does something else."""
    added = Object(kind=kind, id=id, owner=owner, expires=_expiry(body), body=body)
    session.add(added)
    session.flush()
    _label(session, added)


def replace(session: Session, found: Object, body: Body) -> None:
    """Replace an object's body within a transaction."""
    found.body, found.expires = body, _expiry(body)
    session.execute(delete(Label).where(Label.object == found.number))
    _label(session, found)


def _find(session: Session, kind: str, id: str, owner: str) -> Object | None:
    if not id.isprintable():  # PostgreSQL's texts hold no zero characters; our ids are plain
        return None
    query = _living(kind, owner).where(Object.id == id)
    return session.scalars(query).one_or_none()


def _living(kind: str, owner: str) -> Select[Object]:
    living = or_(Object.expires.is_(None), Object.expires > int(time.time()))
    return select(Object).where(Object.kind == kind, Object.owner == owner, living)


def _expiry(body: Body) -> int | None:
    # Of a batch it is the end of its window, at which it ends but does not vanish.
    return body.get("expires_at") if body.get("object") == "file" else None


def _labels(body: Body) -> dict[str, str]:
    """What an object is found by: its metadata, and its own short texts under their bare names.

    All are JSON strings: pure ASCII, and a metadata key, in its quotes, is never taken for a field.
    """
    metadata = {json.dumps(key): json.dumps(value) for key, value in (body.get("metadata") or {}).items()}
    fields = {name: json.dumps(value) for name, value in body.items() if isinstance(value, str)}
    return metadata | {name: value for name, value in fields.items() if len(value) <= _LONGEST_FIELD}


def _label(session: Session, of: Object) -> None:
    rows = [{"object": of.number, "key": key, "value": value} for key, value in _labels(of.body).items()]
    if rows:
        session.execute(insert(Label), rows)


def _filtered(kind: str, owner: str, labels: Mapping[str, str]) -> Select[Object]:
    query = _living(kind, owner)
    for key, value in labels.items():
        label = aliased(Label)
        query = query.where(
            exists().where(label.object == Object.number, label.key == key, label.value == value)
        )
    return query
