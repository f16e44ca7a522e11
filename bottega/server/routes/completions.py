"""POST /v1/completions: the legacy completions API with the fields of its published specification."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import Response

from bottega.server.completions.job import Job
from bottega.server.guard.callers import caller
from bottega.server.observe.request_log import note_user
from bottega.server.schema import Completion, CompletionRequest, ErrorAnswer
from bottega.server.served import find_generator
from bottega.server.streams import EventStream, unless_disconnected

router = APIRouter()


@router.post(
    "/v1/completions",
    response_model=Completion,
    responses={status: {"model": ErrorAnswer} for status in (400, 404, 503)},
)
async def create_completion(request: Request, body: CompletionRequest) -> Response:
    """Continue one or more prompts; with `stream`, as server-sent events that end with `[DONE]`."""
    note_user(body.user)
    served = find_generator(request, body.model)
    # In a thread, because encoding a long text would hold up every other client's tokens.
    job = await asyncio.to_thread(Job, body, served, caller(request).salt)
    steps = served.engine.submit(job.requests())
    if body.stream:
        return EventStream(steps, job.events(steps))
    with steps:
        completion = await unless_disconnected(request, job.whole(steps))
    return Response(completion.model_dump_json(), media_type="application/json")
