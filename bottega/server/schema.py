"""What completions take and give, and what all routes share: models, usage, errors."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from bottega.server.sampling_schema import SamplingFields
from bottega.server.sampling_schema import Text as Text


class CompletionRequest(SamplingFields):
    """The body of POST /v1/completions. A field that is null has its default."""

    prompt: Text | list[Text] | list[int] | list[list[int]] | None = Field(
        default=None, description="One prompt or several, as text or token ids; none begins a new document."
    )
    suffix: Text | None = Field(
        default=None, description="What follows the completion; only for models trained for insertion."
    )
    max_tokens: int | None = Field(
        default=None, ge=0, description="16 by default; 0 with echo scores the prompt."
    )
    best_of: int | None = Field(default=None, ge=1, le=20)
    logprobs: int | None = Field(default=None, ge=0, le=5)
    echo: bool | None = None


class Logprobs(BaseModel):
    """The legacy format: parallel lists, an entry a token. Nats; offsets count from the prompt's start."""

    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None
    text_offset: list[int] = []


class Choice(BaseModel):
    """One continuation, or in a stream the next piece of one."""

    text: str
    index: int
    logprobs: Logprobs | None = None
    finish_reason: Literal["stop", "length"] | None = None


class Usage(BaseModel):
    """Counts of tokens: each prompt once, every continuation that was drawn."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """The answer of POST /v1/completions, whole or a piece of it."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None


class Model(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "bottega"


class ModelList(BaseModel):
    """The answer of GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[Model]


class ModelDeleted(BaseModel):
    """The answer of DELETE /v1/models/{id}."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True


class Error(BaseModel):
    """What went wrong, and with which field."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """OpenAI's envelope."""

    error: Error
