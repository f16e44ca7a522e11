"""The documents and examples that clients uploaded as files for search, answers and classifications."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request

from bottega.server.errors import ApiError
from bottega.server.gpt3.search import Document
from bottega.server.guard.callers import caller


@dataclass(frozen=True)
class File:
    """An uploaded file as /v1/files describes it, and the documents that it holds."""

    described: dict[str, Any]
    documents: list[Document]


def check_one_of(first: str, one: object, second: str, other: object) -> None:
    """Refuse a body that gives both of two fields, or neither."""
    if (one is None) == (other is None):
        how = "not both" if one is not None else "one of them"
        raise ApiError(f"Give {first!r} or {second!r}, {how}.", first, "invalid_value")


async def read_file(request: Request, id: str, purposes: tuple[str, ...]) -> File:
    """An uploaded file and its documents; 404 where the caller has no such file, 400 for other purposes.

    Of purpose answers each line of a text is a document of its own.
    """
    store, owner = request.app.state.store, caller(request).id
    described = await asyncio.to_thread(store.get, "file", id, owner)
    if described is None:
        raise _missing(id)
    if described["purpose"] not in purposes:
        message = f"{id!r} is a file of purpose {described['purpose']!r}; expected {' or '.join(purposes)}."
        raise ApiError(message, "file", "invalid_value")
    try:
        documents = await asyncio.to_thread(_parse, store.files / id, described["purpose"] == "answers")
    except FileNotFoundError:  # deleted since
        raise _missing(id) from None
    if not documents:
        raise ApiError(f"The file {id!r} holds no documents.", "file", "invalid_value")
    return File(described, documents)


def _missing(id: str) -> ApiError:
    return ApiError(f"There is no file {id!r}.", "file", "not_found", 404)


def _parse(path: Path, by_line: bool) -> list[Document]:
    documents: list[Document] = []
    with path.open(encoding="utf-8") as lines:
        for record in (json.loads(line) for line in lines if line.strip()):
            text, label, metadata = record["text"], record.get("label", ""), record.get("metadata")
            for part in text.split("\n") if by_line else [text]:
                if part.strip():
                    documents.append(Document(len(documents), part, label, metadata))
    return documents
