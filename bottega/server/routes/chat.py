"""POST /v1/chat/completions, and the completions that are kept of it."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from bottega.server.chat.answer import (
    ChatCompletion,
    ChatDeleted,
    ChatList,
    MetadataUpdate,
    StoredMessage,
    StoredMessageList,
)
from bottega.server.chat.job import ChatJob
from bottega.server.chat.schema import ChatRequest
from bottega.server.errors import ApiError
from bottega.server.guard.callers import caller
from bottega.server.observe.request_log import note_user
from bottega.server.schema import ErrorAnswer
from bottega.server.served import find_generator
from bottega.server.store import Store
from bottega.server.streams import EventStream, unless_disconnected

KIND = "chat.completion"

router = APIRouter(prefix="/v1/chat/completions")
_GENERATING: Any = {status: {"model": ErrorAnswer} for status in (400, 404, 429, 503)}
_STORED: Any = {status: {"model": ErrorAnswer} for status in (400, 404)}
Limit = Annotated[int, Query(ge=1, le=100)]
Order = Literal["asc", "desc"]


@router.post("", response_model=ChatCompletion, responses=_GENERATING)
async def create_chat_completion(request: Request, body: ChatRequest) -> Response:
    """Answer a conversation; with `stream`, as server-sent events that end with `[DONE]`."""
    note_user(body.user)
    served = find_generator(request, body.model)
    # In a thread, because encoding a long text would hold up every other client's tokens.
    job = await asyncio.to_thread(ChatJob, body, served, caller(request).salt)

    async def keep(completion: ChatCompletion) -> None:
        await asyncio.to_thread(_keep, request, body, completion)

    steps = served.engine.submit(job.requests())
    if body.stream:
        return EventStream(steps, job.events(steps, keep if body.store else None))
    with steps:
        completion = await unless_disconnected(request, job.whole(steps))
    if body.store:
        await keep(completion)
    return Response(completion.model_dump_json(exclude_unset=True), media_type="application/json")


@router.get("", response_model_exclude_unset=True, responses=_STORED)
async def list_chat_completions(
    request: Request,
    model: str | None = None,
    after: str | None = None,
    limit: Limit = 20,
    order: Order = "asc",
) -> ChatList:
    """The stored completions, also by `model` and `metadata[key]=value`."""
    found, more = await asyncio.to_thread(
        _store(request).list,
        KIND,
        caller(request).id,
        limit=limit,
        after=after,
        order=order,
        where=_metadata(request),
        fields={} if model is None else {"model": model},
    )
    data = [_completion(one) for one in found]
    ids: list[str | None] = [one.id for one in data] or [None]
    return ChatList(object="list", data=data, first_id=ids[0], last_id=ids[-1], has_more=more)


@router.get("/{completion_id}", response_model_exclude_unset=True, responses=_STORED)
async def retrieve_chat_completion(request: Request, completion_id: str) -> ChatCompletion:
    """A stored completion."""
    return _completion(await _find(request, completion_id))


@router.post("/{completion_id}", response_model_exclude_unset=True, responses=_STORED)
async def update_chat_completion(
    request: Request, completion_id: str, body: MetadataUpdate
) -> ChatCompletion:
    """Give a stored completion other metadata."""
    found = await _find(request, completion_id) | {"metadata": body.metadata or {}}
    await asyncio.to_thread(_store(request).update, KIND, completion_id, found, caller(request).id)
    return _completion(found)


@router.delete("/{completion_id}", responses=_STORED)
async def delete_chat_completion(request: Request, completion_id: str) -> ChatDeleted:
    """Forget a stored completion."""
    if not await asyncio.to_thread(_store(request).delete, KIND, completion_id, caller(request).id):
        raise _missing(completion_id)
    return ChatDeleted(object="chat.completion.deleted", id=completion_id, deleted=True)


@router.get("/{completion_id}/messages", response_model_exclude_unset=True, responses=_STORED)
async def list_chat_messages(
    request: Request,
    completion_id: str,
    after: str | None = None,
    limit: Limit = 20,
    order: Order = "asc",
) -> StoredMessageList:
    """The conversation that a stored completion answers."""
    messages = [
        _message(f"{completion_id}-{i}", one)
        for i, one in enumerate((await _find(request, completion_id)).get("messages", []))
    ]
    if order == "desc":
        messages.reverse()
    if after is not None:
        places = [i for i, one in enumerate(messages) if one.id == after]
        if not places:
            raise ApiError(f"'after': there is no message {after!r}.", "after", "invalid_value")
        messages = messages[places[0] + 1 :]
    page = messages[:limit]
    ids: list[str | None] = [one.id for one in page] or [None]
    return StoredMessageList(
        object="list", data=page, first_id=ids[0], last_id=ids[-1], has_more=len(messages) > limit
    )


def _keep(request: Request, body: ChatRequest, completion: ChatCompletion) -> None:
    stored = completion.model_dump(mode="json", exclude_unset=True)
    asked = body.model_dump(mode="json", exclude_unset=True, by_alias=True)
    stored |= {"metadata": body.metadata or {}, "messages": asked.pop("messages"), "request": asked}
    _store(request).put(KIND, completion.id, stored, caller(request).id)


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


async def _find(request: Request, id: str) -> dict[str, Any]:
    found = await asyncio.to_thread(_store(request).get, KIND, id, caller(request).id)
    if found is None:
        raise _missing(id)
    return found


def _missing(id: str) -> ApiError:
    message = f"There is no stored completion {id!r}; completions are kept with 'store': true."
    return ApiError(message, "completion_id", "not_found", 404)


def _completion(stored: dict[str, Any]) -> ChatCompletion:
    kept = {name: value for name, value in stored.items() if name not in ("messages", "request")}
    return ChatCompletion.model_validate(kept)


def _message(id: str, said: dict[str, Any]) -> StoredMessage:
    parts = said.get("content") if isinstance(said.get("content"), list) else None
    texts = [part.get("text") or part.get("refusal") or "" for part in parts or []]
    known = {
        name: said[name] for name in ("name", "tool_calls", "tool_call_id") if said.get(name) is not None
    }
    content = "\n".join(texts) if parts is not None else said.get("content")
    if parts is not None:
        known["content_parts"] = parts
    return StoredMessage(id=id, role=said["role"], content=content, **known)


def _metadata(request: Request) -> dict[str, str]:
    """`metadata[key]=value` among the query's fields."""
    pairs = ((re.fullmatch(r"metadata\[(.*)\]", key), value) for key, value in request.query_params.items())
    return {match[1]: value for match, value in pairs if match}
