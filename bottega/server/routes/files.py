"""/v1/files: what clients upload and what the server writes for them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Annotated, BinaryIO, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from bottega.server.errors import ApiError
from bottega.server.files.schema import UPLOAD, File, FileDeleted, FileList
from bottega.server.files.uploads import read_form, read_upload
from bottega.server.guard.callers import caller
from bottega.server.schema import ErrorAnswer
from bottega.server.store.contents import delete_file
from bottega.server.store.store import Body, Store

_PIECE = 2**18  # bytes of a content that are sent at once
_BYTES = "application/octet-stream"
router = APIRouter(prefix="/v1/files", responses={404: {"model": ErrorAnswer}})


@router.post(
    "",
    openapi_extra=UPLOAD,
    responses={status: {"model": ErrorAnswer} for status in (400, 408, 413, 415)},
)
async def upload_file(request: Request) -> File:
    """Keep a file. Each line of those for batch, fine-tune, search, answers, classifications is checked."""
    most: int = request.app.state.max_file_bytes
    form = await read_form(request, most)
    try:
        upload = read_upload(form, most)
        body = await asyncio.to_thread(upload.keep, _store(request), caller(request).id)
    finally:
        await form.close()
    return File.model_validate(body)


@router.get("", responses={400: {"model": ErrorAnswer}})
async def list_files(
    request: Request,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> FileList:
    """The caller's files, the newest first."""
    fields = {} if purpose is None else {"purpose": purpose}
    files, has_more = await asyncio.to_thread(
        _store(request).list, "file", caller(request).id, limit=limit, after=after, order=order, fields=fields
    )
    ids = [file["id"] for file in files]
    return FileList(
        data=[File.model_validate(file) for file in files],
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
        has_more=has_more,
    )


@router.get("/{file_id}")
async def retrieve_file(request: Request, file_id: str) -> File:
    """One of them."""
    return File.model_validate(await _find(request, file_id))


@router.delete("/{file_id}")
async def delete_one_file(request: Request, file_id: str) -> FileDeleted:
    """Forget a file and its content."""
    if not await asyncio.to_thread(delete_file, _store(request), file_id, caller(request).id):
        raise _missing(file_id)
    return FileDeleted(id=file_id)


@router.get(
    "/{file_id}/content",
    response_class=StreamingResponse,
    responses={200: {"content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def retrieve_content(request: Request, file_id: str) -> StreamingResponse:
    """What is in it, to be saved and not to be shown: it may be anything."""
    file = await _find(request, file_id)
    try:
        content = await asyncio.to_thread((_store(request).files / file["id"]).open, "rb")
    except FileNotFoundError:  # deleted since
        raise _missing(file_id) from None
    headers = {
        "Content-Length": str(os.fstat(content.fileno()).st_size),
        "Content-Disposition": f"attachment; filename*=utf-8''{quote(file['filename'], safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    # It is open: sent to its end even if it is deleted meanwhile.
    return StreamingResponse(_pieces(content), media_type=_BYTES, headers=headers)


def _pieces(content: BinaryIO) -> Iterator[bytes]:
    with content:
        while piece := content.read(_PIECE):
            yield piece


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


async def _find(request: Request, id: str) -> Body:
    found = await asyncio.to_thread(_store(request).get, "file", id, caller(request).id)
    if found is None:
        raise _missing(id)
    return found


def _missing(id: str) -> ApiError:
    return ApiError(f"No such File object: {id}", "id", "not_found", 404)
