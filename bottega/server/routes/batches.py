"""/v1/batches: files of requests, answered when there is room."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request

from bottega.server.batches.schema import Batch, BatchList, BatchRequest, Counts
from bottega.server.errors import ApiError
from bottega.server.guard.callers import caller
from bottega.server.schema import ErrorAnswer
from bottega.server.store.batches import UNFINISHED, change, count
from bottega.server.store.store import Body, Store

router = APIRouter(prefix="/v1/batches", responses={404: {"model": ErrorAnswer}})
_WINDOW_SECONDS = 86_400  # of a completion window of 24h


@router.post("", responses={400: {"model": ErrorAnswer}})
async def create_batch(request: Request, body: BatchRequest) -> Batch:
    """Have the requests of an uploaded file answered within a day. It is checked first, and then may fail."""
    store, owner = _store(request), caller(request).id
    file = await asyncio.to_thread(store.get, "file", body.input_file_id, owner)
    if file is None or file["purpose"] != "batch":
        message = f"There is no file {body.input_file_id!r} of purpose 'batch'; upload it first."
        raise ApiError(message, "input_file_id", "invalid_value")
    now = int(time.time())
    batch = Batch(
        id=f"batch_{uuid.uuid4().hex}",
        status="validating",
        created_at=now,
        expires_at=now + _WINDOW_SECONDS,
        **body.model_dump(),
    )
    await asyncio.to_thread(store.put, "batch", batch.id, batch.model_dump(), owner)
    request.app.state.batches.wake()
    return batch


@router.get("", responses={400: {"model": ErrorAnswer}})
async def list_batches(
    request: Request, after: str | None = None, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> BatchList:
    """The caller's batches, the newest first."""
    store, owner = _store(request), caller(request).id
    found, has_more = await asyncio.to_thread(store.list, "batch", owner, limit=limit, after=after)
    data = [await _counted(store, body) for body in found]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return BatchList(data=data, first_id=first, last_id=last, has_more=has_more)


@router.get("/{batch_id}")
async def retrieve_batch(request: Request, batch_id: str) -> Batch:
    """One of them, and how far it is."""
    return await _counted(_store(request), await _find(request, batch_id))


@router.post("/{batch_id}/cancel", responses={400: {"model": ErrorAnswer}})
async def cancel_batch(request: Request, batch_id: str) -> Batch:
    """Stop a batch; what was answered until then is kept."""
    store, owner = _store(request), caller(request).id
    await _find(request, batch_id)
    fields = {"status": "cancelling", "cancelling_at": int(time.time())}
    running = ("validating", "in_progress")
    changed = await asyncio.to_thread(change, store, batch_id, owner, running, fields)
    if changed is not None:
        request.app.state.batches.cancel(batch_id)
        return await _counted(store, changed)
    body = await _find(request, batch_id)
    if body["status"] not in ("cancelling", "cancelled"):
        message = f"A batch that is {body['status']} cannot be cancelled."
        raise ApiError(message, "batch_id", "invalid_value")
    return await _counted(store, body)


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


async def _find(request: Request, id: str) -> Body:
    found = await asyncio.to_thread(_store(request).get, "batch", id, caller(request).id)
    if found is None:
        raise ApiError(f"No batch found with id {id!r}.", "batch_id", "not_found", 404)
    return found


async def _counted(store: Store, body: Body) -> Batch:
    """The batch with the counts of this moment, which are written into it only at its end."""
    batch = Batch.model_validate(body)
    if batch.status in UNFINISHED:
        completed, failed = await asyncio.to_thread(count, store, batch.id)
        batch.request_counts = Counts(total=batch.request_counts.total, completed=completed, failed=failed)
    return batch
