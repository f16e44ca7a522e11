"""The fields that completions and chat share: sampling, stopping, streaming, structured output."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from bottega.server.chat.description import FORMAT


def _well_formed(text: str) -> str:
    """JSON can spell half of a surrogate pair, which no tokenizer can read and no answer can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is no character") from None
    return text


Text = Annotated[str, AfterValidator(_well_formed)]


class Strict(BaseModel):
    """A part of a body: a field that it does not have is refused, and so is one of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class StreamOptions(Strict):
    """How a stream reports itself."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = Field(
        default=None, description="Pads the events to like sizes, so that the network tells less."
    )


class JsonSchemaFormat(Strict):
    """A JSON schema with a name."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = Field(default=None, description="The schema must then fix every property.")


class ResponseFormat(Strict):
    """What the output must be a sentence of. `regex` and `grammar` (in Lark's notation) are extensions."""

    type: Literal["text", "json_object", "json_schema", "regex", "grammar"]
    json_schema: JsonSchemaFormat | None = None
    regex: Text | None = None
    grammar: Text | None = None


class SamplingFields(Strict):
    """What completions and chat share. A field that is null has its default."""

    model: str
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    n: int | None = Field(default=None, ge=1, le=128)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Text | list[Text] | None = Field(default=None, description="Up to four texts before which to stop.")
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    user: str | None = Field(default=None, description="Kept in the log; it has no effect on the answer.")
    response_format: Annotated[ResponseFormat | None, WithJsonSchema(FORMAT)] = Field(
        default=None, description="For completions an extension."
    )
    top_k: int | None = Field(
        default=None, ge=0, description="Extension: sample among the k likeliest; 0 among all."
    )
    min_p: float | None = Field(default=None, ge=0, le=1, description="Extension: Nguyen et al. (2024).")
    repetition_penalty: float | None = Field(
        default=None, ge=0.01, le=100, description="Extension: Keskar et al. (2019), over prompt and output."
    )
    min_tokens: int | None = Field(
        default=None, ge=0, description="Extension: so many before the text may end."
    )
    ignore_eos: bool | None = Field(default=None, description="Extension: the model cannot end the text.")
