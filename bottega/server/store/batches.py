"""Batches in the database: who works on which, the answers so far, and the end, which comes all at once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Insert, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from bottega.server.store.store import Body, Store, put, replace
from bottega.server.store.tables import Claim, Label, Line, Object

UNFINISHED = ("validating", "in_progress", "finalizing", "cancelling")
CLAIM_SECONDS = 10  # how long after a server's last sign of life another takes its batches over


def claim(store: Store, batch: str, holder: str) -> bool:
    """Take a batch, or keep it for longer; False while another server has it."""
    now = int(time.time())
    row = _insert(store, Claim).values(batch=batch, holder=holder, until=now + CLAIM_SECONDS)
    free = (Claim.holder == holder) | (Claim.until <= now)
    values = {"holder": holder, "until": now + CLAIM_SECONDS}
    taken = row.on_conflict_do_update(index_elements=["batch"], set_=values, where=free)
    with store.writing() as session:
        return session.execute(taken.returning(Claim.batch)).first() is not None


def release(store: Store, batch: str, holder: str) -> None:
    """Leave a batch to whoever wants it."""
    with store.writing() as session:
        session.execute(delete(Claim).where(Claim.batch == batch, Claim.holder == holder))


def unfinished(store: Store) -> list[tuple[str, Body]]:
    """The batches of all owners that are not at their end, the oldest first: (owner, batch)."""
    statuses = [json.dumps(status) for status in UNFINISHED]
    query = (
        select(Object)
        .join(Label, (Label.object == Object.number) & (Label.key == "status") & Label.value.in_(statuses))
        .where(Object.kind == "batch")
        .order_by(Object.number)
    )
    with store.reading() as session:
        return [(row.owner, row.body) for row in session.scalars(query)]


def change(store: Store, batch: str, owner: str, since: Sequence[str], fields: Body) -> Body | None:
    """Set fields of a batch if its status is one of `since`; the batch as it then is, else None."""
    with store.writing() as session:
        query = select(Object).where(Object.kind == "batch", Object.id == batch, Object.owner == owner)
        row = session.scalars(query.with_for_update()).one_or_none()
        if row is None or row.body["status"] not in since:
            return None
        replace(session, row, row.body | fields)
        return row.body


def record(store: Store, batch: str, line: int, answer: Body) -> None:
    """Keep the answer to a line. If two servers answered it, the first answer stays."""
    row = _insert(store, Line).values(batch=batch, line=line, failed=is_failure(answer), answer=answer)
    with store.writing() as session:
        session.execute(row.on_conflict_do_nothing())


def is_failure(answer: Body) -> bool:
    """Whether an answer belongs into the file of errors."""
    return answer["response"] is None or answer["response"]["status_code"] >= 400


def answered(store: Store, batch: str) -> set[int]:
    """The numbers of the lines that have their answer."""
    with store.reading() as session:
        return set(session.scalars(select(Line.line).where(Line.batch == batch)))


def count(store: Store, batch: str) -> tuple[int, int]:
    """How many lines were answered well and how many failed."""
    query = select(Line.failed, func.count()).where(Line.batch == batch).group_by(Line.failed)
    with store.reading() as session:
        found = {bool(failed): number for failed, number in session.execute(query)}
    return found.get(False, 0), found.get(True, 0)


def answers(store: Store, batch: str, failed: bool) -> Iterator[Body]:
    """The answers in the order of their lines."""
    query = select(Line.answer).where(Line.batch == batch, Line.failed == failed).order_by(Line.line)
    with store.reading() as session:
        yield from session.scalars(query.execution_options(yield_per=100))


def end(store: Store, batch: str, owner: str, since: Sequence[str], fields: Body, files: list[Body]) -> bool:
    """End a batch in one step: its files appear, its status changes, its answers leave the table.

    False, and nothing happens, where its status is none of `since`: another server ended it.
    """
    with store.writing() as session:
        query = select(Object).where(Object.kind == "batch", Object.id == batch, Object.owner == owner)
        row = session.scalars(query.with_for_update()).one_or_none()
        if row is None or row.body["status"] not in since:
            return False
        for file in files:
            put(session, "file", file["id"], file, owner)
        replace(session, row, row.body | fields)
        session.execute(delete(Line).where(Line.batch == batch))
        session.execute(delete(Claim).where(Claim.batch == batch))
        return True


def _insert(store: Store, table: Any) -> Any:
    made: Insert = (postgresql if store.database.dialect.name == "postgresql" else sqlite).insert(table)
    return made
