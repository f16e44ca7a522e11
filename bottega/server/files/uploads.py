"""Reading the form of an upload, never all of it in memory and never more of it than is allowed."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import IO

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from bottega.server.errors import ApiError
from bottega.server.files.jsonl import check_lines
from bottega.server.files.schema import PURPOSES
from bottega.server.store.contents import add_file, describe, draft
from bottega.server.store.store import Body, Store

_AROUND = 2**16  # bytes of a form beside the file
_FIELDS = {"file", "purpose", "expires_after[anchor]", "expires_after[seconds]"}
_EXPIRY_SECONDS = (3600, 2_592_000)


@dataclass(frozen=True)
class Upload:
    """A form that was read: the file's spooled content and what it is for."""

    content: IO[bytes]
    filename: str
    purpose: str
    expires_after: int | None

    def keep(self, store: Store, owner: str) -> Body:
        """Check the content for its purpose and keep it as a file; what it is described by.

        Takes its time: call it in a thread.
        """
        with draft(store) as file:
            self.content.seek(0)
            shutil.copyfileobj(self.content, file, 2**20)
            size = file.tell()
            if not size:
                raise ApiError("The file is empty.", "file", "invalid_value")
            file.seek(0)
            check_lines(file, self.purpose)
            body = describe(self.filename, self.purpose, size, self.expires_after)
            add_file(store, file, body, owner)
        return body


async def read_form(request: Request, max_bytes: int) -> FormData:
    """The form of a request, its file on disk once it is large; ApiError 413 above `max_bytes`."""
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise ApiError("Send the file as multipart/form-data.", None, "unsupported_media_type", 415)
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > max_bytes + _AROUND:
        raise _too_large(max_bytes)
    stream = _bounded(request.stream(), max_bytes)
    try:
        parser = MultiPartParser(request.headers, stream, max_files=1, max_fields=8, max_part_size=_AROUND)
        return await parser.parse()
    except ClientDisconnect:
        raise ApiError("The client closed the connection.", status=499) from None
    except (MultiPartException, KeyError) as error:  # the latter: a content type without a boundary
        said = error.message if isinstance(error, MultiPartException) else "it names no boundary"
        raise ApiError(f"The form cannot be read: {said}", None, "invalid_form") from None


def read_upload(form: FormData, max_bytes: int) -> Upload:
    """The fields of the form; ApiError where one is missing, unknown or wrong."""
    for name in form:
        if name not in _FIELDS:
            raise ApiError(f"Unknown parameter: {name!r}.", name, "unknown_parameter")
        if len(form.getlist(name)) > 1:
            raise ApiError(f"{name!r} is given more than once.", name, "invalid_value")
    for name in ("file", "purpose"):
        if name not in form:
            raise ApiError(f"Missing required parameter: {name!r}.", name, "missing_required_parameter")
    file, purpose = form["file"], form["purpose"]
    if not isinstance(file, UploadFile):
        raise ApiError("'file' must be a file with a file name.", "file", "invalid_type")
    if (file.size or 0) > max_bytes:
        raise _too_large(max_bytes)
    if purpose not in PURPOSES:
        message = f"'purpose' must be one of {', '.join(PURPOSES)}."
        raise ApiError(message, "purpose", "invalid_value")
    return Upload(file.file, _shown(file.filename or "file"), str(purpose), _expiry(form))


def _expiry(form: FormData) -> int | None:
    anchor, seconds = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    least, most = _EXPIRY_SECONDS
    given = str(seconds)
    if anchor == "created_at" and given.isascii() and given.isdigit() and least <= int(given[:12]) <= most:
        return int(given)
    message = f"'expires_after' is {{'anchor': 'created_at', 'seconds': {least} to {most}}}."
    raise ApiError(message, "expires_after", "invalid_value")


def _shown(filename: str) -> str:
    """The client's name for the file: shown to it again, never a path of ours."""
    return "".join(sign for sign in filename if sign.isprintable())[:255] or "file"


async def _bounded(stream: AsyncGenerator[bytes, None], max_bytes: int) -> AsyncGenerator[bytes, None]:
    seen = 0
    async for chunk in stream:
        seen += len(chunk)
        if seen > max_bytes + _AROUND:
            raise _too_large(max_bytes)
        yield chunk


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(f"A file may have at most {max_bytes} bytes.", "file", "request_too_large", 413)
