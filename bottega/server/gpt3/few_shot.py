"""Prompts that show a base model what to do: the classifications, answers and edits of 2020 to 2022.

Each shows solved examples before the open one, so that continuing the text is solving it (Brown et al. 2020).
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fastapi import Request

from bottega.server.completions.job import Job
from bottega.server.errors import ApiError
from bottega.server.gpt3.schema import AnswerRequest, ClassificationRequest
from bottega.server.gpt3.search import Document, Found, likely, search
from bottega.server.gpt3.search_files import File
from bottega.server.guard.callers import caller
from bottega.server.schema import Completion, CompletionRequest
from bottega.server.served import Served, find
from bottega.server.streams import unless_disconnected

EDIT_END = "\n###"
_EDITS = (
    ("Correct the spelling.", "The aprentice swept the flor.", "The apprentice swept the floor."),
    ("Write the names in capitals.", "Leonardo met Andrea.\nThey drew.", "LEONARDO met ANDREA.\nThey drew."),
)


def classification_prompt(query: str, examples: Sequence[Document], labels: Sequence[str]) -> str:
    """The labels, the examples with theirs, the first next to the query, and the query without."""
    shots = "".join(f"Text: {one.text}\nLabel: {one.label}\n---\n" for one in reversed(examples))
    return f"Label each text with one of: {', '.join(labels)}.\n\n{shots}Text: {query}\nLabel:"


def answer_prompt(
    question: str, documents: Sequence[Document], context: str, examples: Sequence[Sequence[str]]
) -> str:
    """The examples below their context; the question below the documents, if any, the first next to it."""
    solved = "\n".join(f"Q: {asked}\nA: {answer}" for asked, answer in examples)
    known = "\n".join(one.text for one in reversed(documents))
    above = f"Context: {known}\n" if known else ""
    return (
        "Answer each question from the context above it.\n\n"
        f"Context: {context}\n{solved}\n---\n{above}Q: {question}\nA:"
    )


def edit_prompt(instruction: str, text: str) -> str:
    """Two edited texts and the one to edit; the edited text ends before EDIT_END."""
    shots = "".join(_edit(how, before) + after + EDIT_END + "\n" for how, before, after in _EDITS)
    return shots + _edit(instruction, text)


def _edit(instruction: str, text: str) -> str:
    return f"Instruction: {instruction}\nInput:\n{text}\nOutput:\n"


def choice_grammar(texts: Sequence[str]) -> str:
    """The grammar, in the engine's format, of which exactly these texts are sentences."""
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_lark(
        "start: " + " | ".join(json.dumps(text, ensure_ascii=False) for text in texts)
    )


def as_many_as_fit(
    found: Sequence[Found],
    prompt: Callable[[Sequence[Document]], str],
    max_tokens: int,
    served: Served,
    param: str,
) -> list[Document]:
    """The best of what a search found, best first: as many as leave room for `max_tokens` in the context.

    Raises ApiError where there is no room even without any of them.
    """
    ranked = [one.document for one in sorted(found, key=lambda one: one.score, reverse=True)]

    def wanted(n: int) -> int:
        return len(served.tokenizer.encode(prompt(ranked[:n]))) + max_tokens

    check_room(wanted(0), served, param)
    return ranked[: bisect_right(range(1, len(ranked) + 1), served.engine.context_length, key=wanted)]


def check_room(wanted: int, served: Served, param: str) -> None:
    """Refuse a prompt that with its continuation takes more tokens than the model's context has."""
    context = served.engine.context_length
    if wanted > context:
        message = f"The model's context is {context} tokens, but this needs {wanted}; shorten {param!r}."
        raise ApiError(message, param, "context_length_exceeded")


async def searched(
    request: Request,
    body: ClassificationRequest | AnswerRequest,
    query: str,
    documents: Sequence[Document],
    at_most: int | None,
    param: str,
) -> list[Found]:
    """The documents with their scores; of a file's only so many are ranked, 200 by default."""
    served = find(request, body.search_model or body.model, "search_model" if body.search_model else "model")
    if body.file is not None:
        documents, param = await asyncio.to_thread(likely, query, documents, at_most or 200), "file"
    work = search(served, query, documents, param, caller(request).salt)
    return await unless_disconnected(request, work)


def described(
    body: ClassificationRequest | AnswerRequest, completion: Completion, file: File | None, prompt: str
) -> dict[str, Any]:
    """The fields that the answers of both share, expanded as was asked."""
    expand = body.expand or []
    whole = "completion" in expand or body.logprobs is not None
    return {
        "model": body.model,
        "search_model": body.search_model or body.model,
        "completion": completion if whole else completion.id,
        "file": file.described if file is not None and "file" in expand else body.file,
        "prompt": prompt,
    }


async def complete(
    request: Request, served: Served, body: CompletionRequest, grammar: str | None = None
) -> Completion:
    """What POST /v1/completions would answer, where a grammar is given with sentences of it alone."""
    job = await asyncio.to_thread(Job, body, served, caller(request).salt)
    asked = [replace(one, grammar=grammar) for one in job.requests()]
    with served.engine.submit(asked) as steps:
        return await unless_disconnected(request, job.whole(steps))
