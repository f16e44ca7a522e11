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
    best_of: int | None = Field(default=None, ge=0, le=20, description="0 is as if it were not given.")
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


class PromptDetails(BaseModel):
    """Tokens of the prompts by kind."""

    cached_tokens: int = Field(description="Read for an earlier request, and found again.")
    audio_tokens: int


class CompletionDetails(BaseModel):
    """Tokens of the continuations by kind."""

    reasoning_tokens: int
    audio_tokens: int
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


class Usage(BaseModel):
    """Counts of tokens: each prompt once, every continuation that was drawn."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails

    @classmethod
    def of(cls, read: int, drawn: int, cached: int) -> Usage:
        """The usage of prompts of `read` tokens, `cached` among them, and `drawn` tokens behind them."""
        return cls(
            prompt_tokens=read,
            completion_tokens=drawn,
            total_tokens=read + drawn,
            prompt_tokens_details=PromptDetails(cached_tokens=cached, audio_tokens=0),
            completion_tokens_details=CompletionDetails(
                reasoning_tokens=0, audio_tokens=0, accepted_prediction_tokens=0, rejected_prediction_tokens=0
            ),
        )


class Completion(BaseModel):
    """The answer of POST /v1/completions, whole or a piece of it."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    system_fingerprint: str
    usage: Usage | None = None


class PaddedCompletion(Completion):
    """A piece of an answer that is brought to a common size."""

    obfuscation: str


Ability = Literal["generate", "embed"]


class Model(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "bottega"
    abilities: list[Ability] = Field(
        description="generate: completions, chat and what builds on them; embed: embeddings and search."
    )


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
