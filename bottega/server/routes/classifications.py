"""POST /v1/classifications: label a text by labelled examples."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import Response

from bottega.server.errors import ApiError
from bottega.server.gpt3.few_shot import (
    as_many_as_fit,
    choice_grammar,
    classification_prompt,
    complete,
    described,
    searched,
)
from bottega.server.gpt3.schema import Classification, ClassificationRequest, SelectedExample
from bottega.server.gpt3.search import Document
from bottega.server.gpt3.search_files import File, check_one_of, read_file
from bottega.server.observe.request_log import note_user
from bottega.server.schema import CompletionRequest, ErrorAnswer
from bottega.server.served import find_generator

router = APIRouter()


@router.post(
    "/v1/classifications",
    response_model=Classification,
    responses={status: {"model": ErrorAnswer} for status in (400, 404, 429, 503)},
)
async def create_classification(request: Request, body: ClassificationRequest) -> Response:
    """Search the examples most like the query, show them to the model and let it choose among the labels."""
    note_user(body.user)
    served = find_generator(request, body.model)
    check_one_of("examples", body.examples, "file", body.file)
    file = None if body.file is None else await read_file(request, body.file, ("classifications",))
    examples, labels = _labelled(body, file)
    found = await searched(request, body, body.query, examples, body.max_examples, "examples")

    def prompt(shown: Sequence[Document]) -> str:
        return classification_prompt(body.query, shown, labels)

    longest = 1 + max(len(f" {label}".encode()) for label in labels)  # a token holds a byte at least
    shown = await asyncio.to_thread(as_many_as_fit, found, prompt, longest, served, "query")
    asked = CompletionRequest.model_validate(
        {
            "model": body.model,
            "prompt": prompt(shown),
            "max_tokens": longest,
            "temperature": body.temperature or 0.0,
            "logprobs": body.logprobs,
            "logit_bias": body.logit_bias,
        }
    )
    grammar = choice_grammar([f" {label}" for label in labels])
    completion = await complete(request, served, asked, grammar)
    answer = Classification(
        label=completion.choices[0].text.strip(),
        selected_examples=[
            SelectedExample(document=one.index, text=one.text, metadata=one.metadata, label=one.label)
            for one in shown
        ],
        **described(body, completion, file, prompt(shown)),
    )
    return answer.respond(body, "selected_examples")


def _labelled(body: ClassificationRequest, file: File | None) -> tuple[list[Document], list[str]]:
    """The examples, and the labels to choose from: capitalised, in the order in which they come first."""
    if file is None:
        examples = [Document(i, text, _capital(label)) for i, (text, label) in enumerate(body.examples or [])]
    else:
        examples = [replace(one, label=_capital(one.label)) for one in file.documents]
    labels = list(dict.fromkeys(map(_capital, body.labels or (one.label for one in examples))))
    if "" in labels:
        raise ApiError("A label must hold more than white space.", "labels", "invalid_value")
    for one in examples:
        if one.label not in labels:
            message = f"Example {one.index} has the label {one.label!r}, which is none of 'labels'."
            raise ApiError(message, "labels", "invalid_value")
    return examples, labels


def _capital(label: str) -> str:
    return label.strip().capitalize()
