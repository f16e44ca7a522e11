"""POST /v1/answers: answer a question from documents, as examples show."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.responses import Response

from bottega.server.gpt3.few_shot import answer_prompt, as_many_as_fit, complete, described, searched
from bottega.server.gpt3.schema import Answer, AnswerRequest, Selected
from bottega.server.gpt3.search import Document
from bottega.server.gpt3.search_files import check_one_of, read_file
from bottega.server.observe.request_log import note_user
from bottega.server.schema import CompletionRequest, ErrorAnswer
from bottega.server.served import find_generator

router = APIRouter()


@router.post(
    "/v1/answers",
    response_model=Answer,
    responses={status: {"model": ErrorAnswer} for status in (400, 404, 429, 503)},
)
async def create_answer(request: Request, body: AnswerRequest) -> Response:
    """Search the documents for the question, put the best above it, and let the model go on."""
    note_user(body.user)
    served = find_generator(request, body.model)
    check_one_of("documents", body.documents, "file", body.file)
    file = None if body.file is None else await read_file(request, body.file, ("answers", "search"))
    if file is None:
        documents = [Document(i, text) for i, text in enumerate(body.documents or [])]
    else:
        documents = file.documents
    found = await searched(request, body, body.question, documents, body.max_rerank, "documents")

    def prompt(shown: Sequence[Document]) -> str:
        return answer_prompt(body.question, shown, body.examples_context, body.examples)

    max_tokens = 16 if body.max_tokens is None else body.max_tokens
    shown = await asyncio.to_thread(as_many_as_fit, found, prompt, max_tokens, served, "question")
    asked = CompletionRequest.model_validate(
        {
            "model": body.model,
            "prompt": prompt(shown),
            "max_tokens": max_tokens,
            "temperature": body.temperature or 0.0,
            "n": body.n,
            "stop": body.stop,
            "logprobs": body.logprobs,
            "logit_bias": body.logit_bias,
        }
    )
    completion = await complete(request, served, asked)
    answer = Answer(
        answers=[choice.text.strip() for choice in completion.choices],
        selected_documents=[
            Selected(document=one.index, text=one.text, metadata=one.metadata) for one in shown
        ],
        **described(body, completion, file, prompt(shown)),
    )
    return answer.respond(body, "selected_documents")
