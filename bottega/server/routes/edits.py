"""POST /v1/edits: a text changed as an instruction says."""

from __future__ import annotations

import asyncio
import time
import uuid

from fastapi import APIRouter, Request

from bottega.server.gpt3.few_shot import EDIT_END, check_room, complete, edit_prompt
from bottega.server.gpt3.schema import Edit, EditChoice, EditRequest
from bottega.server.schema import CompletionRequest, ErrorAnswer
from bottega.server.served import Served, find_generator

router = APIRouter()


@router.post(
    "/v1/edits",
    responses={status: {"model": ErrorAnswer} for status in (400, 404, 429, 503)},
)
async def create_edit(request: Request, body: EditRequest) -> Edit:
    """Show the model two edited texts and the one to edit; an edit has room for twice the text."""
    served = find_generator(request, body.model)
    asked = await asyncio.to_thread(_read, body, served)
    completion = await complete(request, served, asked)
    choices = [
        EditChoice(text=choice.text, index=choice.index, finish_reason=choice.finish_reason or "stop")
        for choice in completion.choices
    ]
    assert completion.usage is not None
    return Edit(
        id=f"edit-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=body.model,
        choices=choices,
        usage=completion.usage,
    )


def _read(body: EditRequest, served: Served) -> CompletionRequest:
    text = body.input or ""
    prompt = edit_prompt(body.instruction, text)
    encode = served.tokenizer.encode
    n_prompt = len(encode(prompt))
    check_room(n_prompt + 1, served, "input" if text else "instruction")
    room = served.engine.context_length - n_prompt
    return CompletionRequest.model_validate(
        {
            "model": body.model,
            "prompt": prompt,
            "max_tokens": min(room, 32 + 2 * len(encode(text))),
            "temperature": body.temperature,
            "top_p": body.top_p,
            "n": body.n,
            "stop": EDIT_END,
        }
    )
