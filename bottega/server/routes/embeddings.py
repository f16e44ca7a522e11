"""POST /v1/embeddings: texts as vectors of unit length, from the last states of the model that is served."""

from __future__ import annotations

import asyncio
import base64
import math
import struct
from collections.abc import Sequence

from fastapi import APIRouter, Request

from bottega.engine.request import Request as EngineRequest
from bottega.nn.sampling_params import SamplingParams
from bottega.server.completions.reading import Prompt, check_context, read_inputs
from bottega.server.completions.single_steps import single_steps
from bottega.server.embeddings_schema import Embedding, EmbeddingList, EmbeddingRequest, EmbeddingUsage
from bottega.server.errors import ApiError
from bottega.server.guard.callers import caller
from bottega.server.observe.request_log import note_user
from bottega.server.schema import ErrorAnswer
from bottega.server.served import Served, find
from bottega.server.streams import unless_disconnected

MAX_INPUTS = 2048
_ONE_STEP = SamplingParams(max_tokens=0)

router = APIRouter(responses={status: {"model": ErrorAnswer} for status in (400, 404, 429, 503)})


@router.post("/v1/embeddings")
async def create_embeddings(request: Request, body: EmbeddingRequest) -> EmbeddingList:
    """The mean of the last states of each input, of unit length."""
    note_user(body.user)
    served = find(request, body.model)
    inputs = await asyncio.to_thread(_read, body, served)
    vectors = await unless_disconnected(request, embed(request, served, inputs))
    if body.dimensions is not None:
        vectors = [_shortened(vector, body.dimensions) for vector in vectors]
    as_base64 = body.encoding_format == "base64"
    n_tokens = sum(len(one.ids) for one in inputs)
    return EmbeddingList(
        model=body.model,
        data=[
            Embedding(index=i, embedding=_base64(vector) if as_base64 else list(vector))
            for i, vector in enumerate(vectors)
        ],
        usage=EmbeddingUsage(prompt_tokens=n_tokens, total_tokens=n_tokens),
    )


async def embed(request: Request, served: Served, inputs: Sequence[Prompt]) -> list[Sequence[float]]:
    """The vector of each input: the mean of its last states, of unit length."""
    salt = caller(request).salt
    asked = [EngineRequest(one.ids, _ONE_STEP, embed=True, salt=salt) for one in inputs]
    return [step.embedding for step in await single_steps(served.engine, asked)]


def _read(body: EmbeddingRequest, served: Served) -> list[Prompt]:
    if not body.input or (isinstance(body.input, list) and "" in body.input):
        raise ApiError("'input' must not be empty, nor hold an empty text.", "input", "invalid_value")
    several = isinstance(body.input, list) and not isinstance(body.input[0], int)
    if several and len(body.input) > MAX_INPUTS:
        message = f"'input' holds {len(body.input)} inputs; at most {MAX_INPUTS} can be embedded at once."
        raise ApiError(message, "input", "invalid_value")
    width = served.engine.width
    if body.dimensions is not None and body.dimensions > width:
        message = f"'dimensions' is {body.dimensions}, but this model's embeddings have {width}."
        raise ApiError(message, "dimensions", "invalid_value")
    inputs = read_inputs(body.input, served, "input")
    check_context(inputs, _ONE_STEP, served, body.model, "input")
    return inputs


def _shortened(vector: Sequence[float], dimensions: int) -> list[float]:
    """The first components at unit length, which OpenAI's `dimensions` means."""
    kept = vector[:dimensions]
    length = math.sqrt(sum(x * x for x in kept)) or 1.0
    return [x / length for x in kept]


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
