"""Semantic search by a language model: how much likelier does a document make the query?

A document's score compares the log-probability of the query behind the document with that behind nothing, as
the search endpoint of 2020 did. Of large collections BM25 (Robertson and Zaragoza 2009) chooses the documents
that the model ranks.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bottega.engine.request import Request
from bottega.nn.sampling_params import SamplingParams
from bottega.nn.steps import Step
from bottega.server.completions.single_steps import single_steps
from bottega.server.errors import ApiError
from bottega.server.served import Served

_BEHIND = "\n\n---\n\nThe above passage is related to:"
_SCORED = SamplingParams(max_tokens=0)


@dataclass(frozen=True)
class Document:
    """A text to search among: its place among those given, its label where it is an example."""

    index: int
    text: str
    label: str = ""
    metadata: Any = None


@dataclass(frozen=True)
class Found:
    """A document with its score."""

    document: Document
    score: float


async def search(
    served: Served, query: str, documents: Sequence[Document], param: str, salt: str
) -> list[Found]:
    """Every document's score for the query, in the order given.

    With r the geometric mean, over the tokens of the query, of how many times likelier the document makes
    them, the score is 100 ln(1 + r): positive, 69 where the document changes nothing, 200 where the query's
    tokens become six times likelier. A sentence encoder scores by the cosine of query and document, from -1
    to 1. Raises ApiError where a document and the query exceed the context.
    """
    if served.engine.embeds_only:
        return await _nearest(served, query, documents, param, salt)
    # In a thread: a long text takes its time, and others' tokens would wait for it.
    prompts, n_asked = await asyncio.to_thread(_prompts, served, query, documents, param)
    requests = [Request(prompt, _SCORED, score_prompt=True, salt=salt) for prompt in prompts]
    alone, *behind = [_mean_logprob(step, n_asked) for step in await single_steps(served.engine, requests)]
    return [
        Found(document, 100 * math.log1p(math.exp(min(mean - alone, 700.0))))
        for document, mean in zip(documents, behind, strict=True)
    ]


def _prompts(
    served: Served, query: str, documents: Sequence[Document], param: str
) -> tuple[list[list[int]], int]:
    """The query behind nothing and behind each document, as token ids; how many of them are the query's."""
    encode, end = served.tokenizer.encode, served.tokenizer.end_of_text
    asked = encode(" " + query)
    prompts = [[end, *encode(text + _BEHIND), *asked] for text in ("", *(one.text for one in documents))]
    context = served.engine.context_length
    _check_length(len(prompts[0]), context, "the query", "query")
    for prompt, one in zip(prompts[1:], documents, strict=True):
        _check_length(len(prompt), context, f"document {one.index} with the query", param)
    return prompts, len(asked)


async def _nearest(
    served: Served, query: str, documents: Sequence[Document], param: str, salt: str
) -> list[Found]:
    """Every document with the cosine of its vector and the query's."""
    read = await asyncio.to_thread(_texts, served, query, documents, param)
    requests = [Request(ids, _SCORED, embed=True, salt=salt) for ids in read]
    asked, *vectors = [step.embedding for step in await single_steps(served.engine, requests)]
    return [Found(document, _cosine(asked, v)) for document, v in zip(documents, vectors, strict=True)]


def _texts(served: Served, query: str, documents: Sequence[Document], param: str) -> list[list[int]]:
    """The query and each document as token ids."""
    texts = [query, *(one.text for one in documents)]
    read = [served.reads.encode(text) or [served.reads.end_of_text] for text in texts]
    context = served.engine.context_length
    _check_length(len(read[0]), context, "the query", "query")
    for ids, one in zip(read[1:], documents, strict=True):
        _check_length(len(ids), context, f"document {one.index}", param)
    return read


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (math.hypot(*one) * math.hypot(*other) or 1.0)


def likely(query: str, documents: Sequence[Document], at_most: int) -> list[Document]:
    """The documents that BM25 finds for the query, where they are more than `at_most`."""
    if len(documents) <= at_most:
        return list(documents)
    import bm25s

    index = bm25s.BM25()
    index.index(_words([one.text for one in documents]), show_progress=False)
    found, _ = index.retrieve(_words([query]), k=at_most, show_progress=False)
    return [documents[i] for i in sorted(found[0])]


def _words(texts: list[str]) -> list[list[str]]:
    import bm25s

    return bm25s.tokenize(texts, stopwords=None, return_ids=False, show_progress=False)


def _mean_logprob(step: Step, n_tokens: int) -> float:
    return sum(token.logprob or 0.0 for token in step.prompt[-n_tokens:]) / n_tokens


def _check_length(length: int, context: int, what: str, param: str) -> None:
    if length > context:
        message = f"The model reads {context} tokens at once, but {what} takes {length}; shorten it."
        raise ApiError(message, param, "context_length_exceeded")
