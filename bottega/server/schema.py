"""What the routes take and give: OpenAI's published fields, and three documented extensions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _well_formed(text: str) -> str:
    """JSON can spell half of a surrogate pair, which no tokenizer can read and no answer can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is no character") from None
    return text


Text = Annotated[str, AfterValidator(_well_formed)]


class StreamOptions(BaseModel):
    """How a stream reports itself."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool | None = None


class CompletionRequest(BaseModel):
    """The body of POST /v1/completions. A field that is null has its default."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    model: str
    prompt: Text | list[Text] | list[int] | list[list[int]] | None = Field(
        None, description="One prompt or several, as text or token ids; none begins a new document."
    )
    suffix: str | None = Field(None, description="Only for models trained for insertion.")
    max_tokens: int | None = Field(None, ge=0, description="16 by default; 0 with echo scores the prompt.")
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    n: int | None = Field(None, ge=1, le=128)
    best_of: int | None = Field(None, ge=1, le=20)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: int | None = Field(None, ge=0, le=5)
    echo: bool | None = None
    stop: Text | list[Text] | None = Field(None, description="Up to four texts before which to stop.")
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    user: str | None = Field(None, description="Accepted; it has no effect on the answer.")
    top_k: int | None = Field(None, ge=0, description="Extension: sample among the k likeliest; 0 among all.")
    min_p: float | None = Field(None, ge=0, le=1, description="Extension: Nguyen et al. (2024).")
    repetition_penalty: float | None = Field(
        None, ge=0.01, le=100, description="Extension: Keskar et al. (2019), over prompt and output."
    )


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


class Error(BaseModel):
    """What went wrong, and with which field."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """OpenAI's envelope."""

    error: Error
