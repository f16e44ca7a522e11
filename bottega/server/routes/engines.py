"""The engines of 2020 to 2022, the older name of models: /v1/engines and what lies under it."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response

from bottega.server.embeddings_schema import EmbeddingList, EmbeddingRequest
from bottega.server.errors import ApiError
from bottega.server.gpt3.schema import (
    Engine,
    EngineCompletionRequest,
    EngineEmbeddingRequest,
    EngineList,
    SearchRequest,
    SearchResult,
    SearchResults,
)
from bottega.server.gpt3.search import Document, likely, search
from bottega.server.gpt3.search_files import check_one_of, read_file
from bottega.server.guard.callers import caller
from bottega.server.observe.request_log import note_user
from bottega.server.routes.completions import create_completion
from bottega.server.routes.embeddings import create_embeddings
from bottega.server.schema import Completion, CompletionRequest, ErrorAnswer
from bottega.server.served import Served, find
from bottega.server.streams import unless_disconnected

router = APIRouter(
    prefix="/v1/engines",
    responses={status: {"model": ErrorAnswer} for status in (400, 404, 429, 503)},
)
Body = TypeVar("Body", CompletionRequest, EmbeddingRequest)


@router.get("")
async def list_engines(request: Request) -> EngineList:
    """The models that are served, as engines."""
    models: dict[str, Served] = request.app.state.models
    return EngineList(data=[_describe(name, served) for name, served in models.items()])


@router.post("/{engine_id:path}/completions", response_model=Completion)
async def complete_by_engine(request: Request, engine_id: str, body: EngineCompletionRequest) -> Response:
    """POST /v1/completions with the model in the path."""
    return await create_completion(request, _of_engine(body, engine_id))


@router.post("/{engine_id:path}/embeddings")
async def embed_by_engine(request: Request, engine_id: str, body: EngineEmbeddingRequest) -> EmbeddingList:
    """POST /v1/embeddings with the model in the path."""
    return await create_embeddings(request, _of_engine(body, engine_id))


@router.post("/{engine_id:path}/search", response_model=SearchResults)
async def search_by_engine(request: Request, engine_id: str, body: SearchRequest) -> Response:
    """Score documents by how much they tell of the query: inline ones in their order, a file's best first."""
    note_user(body.user)
    served = find(request, engine_id, "engine_id")
    check_one_of("documents", body.documents, "file", body.file)
    if body.file is None:
        documents, param = [Document(i, text) for i, text in enumerate(body.documents or [])], "documents"
    else:
        file = await read_file(request, body.file, ("search", "answers"))
        most = body.max_rerank or 200
        documents, param = await asyncio.to_thread(likely, body.query, file.documents, most), "file"
    work = search(served, body.query, documents, param, caller(request).salt)
    found = await unless_disconnected(request, work)
    if body.file is not None:
        found.sort(key=lambda one: one.score, reverse=True)
    data = [
        SearchResult(
            document=one.document.index,
            score=one.score,
            text=one.document.text,
            metadata=one.document.metadata,
        )
        for one in found
    ]
    left_out = set() if body.return_metadata else {"metadata"}
    exclude = {"text", "metadata"} if body.file is None else left_out
    answer = SearchResults(model=engine_id, data=data).model_dump_json(exclude={"data": {"__all__": exclude}})
    return Response(answer, media_type="application/json")


@router.get("/{engine_id:path}")
async def retrieve_engine(request: Request, engine_id: str) -> Engine:
    """One of them; a name may hold slashes."""
    return _describe(engine_id, find(request, engine_id))


def _describe(name: str, served: Served) -> Engine:
    return Engine(id=name, created=served.created, ready=served.engine.ready)


def _of_engine(body: Body, engine_id: str) -> Body:
    if body.model not in ("", engine_id):
        message = f"'model' is {body.model!r}, but the path names {engine_id!r}; leave 'model' out."
        raise ApiError(message, "model", "invalid_value")
    return body.model_copy(update={"model": engine_id})
