"""What POST /v1/chat/completions takes: OpenAI's published fields, and documented extensions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, WithJsonSchema

from bottega.server.chat import description
from bottega.server.chat.description import neutral
from bottega.server.sampling_schema import SamplingFields, Strict, Text

Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
MetadataKey = Annotated[Text, StringConstraints(max_length=64)]
MetadataValue = Annotated[Text, StringConstraints(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]


class Breakpoint(Strict):
    """Where a prompt's cached part may end."""

    mode: Literal["explicit"]


class ContentPart(Strict):
    """A part of a message. Only text can be read."""

    type: Literal["text", "refusal", "image_url", "input_audio", "file"]
    text: Text | None = None
    refusal: Text | None = None
    image_url: dict[str, Any] | None = None
    input_audio: dict[str, Any] | None = None
    file: dict[str, Any] | None = None
    prompt_cache_breakpoint: Breakpoint | None = None


class CalledFunction(Strict):
    """A function's name and the arguments as JSON."""

    name: Text
    arguments: Text


class ToolCall(Strict):
    """A call that the assistant made."""

    id: Text
    type: Literal["function", "custom"]
    function: CalledFunction | None = None
    custom: dict[str, Any] | None = None


class Message(Strict):
    """One turn of a conversation."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: Text | list[ContentPart] | None = None
    name: Text | None = None
    refusal: Text | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: CalledFunction | None = None
    tool_call_id: Text | None = None
    audio: dict[str, Any] | None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None


class FunctionSpec(Strict):
    """A function that the model may call, its parameters as a JSON schema."""

    name: Name
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Strict):
    """A tool: only functions are known."""

    type: Literal["function", "custom"]
    function: FunctionSpec | None = None
    custom: dict[str, Any] | None = None


class Named(Strict):
    """A function by its name."""

    name: Text


class AllowedTools(Strict):
    """Some of the tools."""

    mode: Literal["auto", "required"]
    tools: list[dict[str, Any]]


class ToolChoice(Strict):
    """One function that must be called, or some that may be."""

    type: Literal["function", "custom", "allowed_tools"]
    function: Named | None = None
    custom: Named | None = None
    allowed_tools: AllowedTools | None = None


class CacheOptions(Strict):
    """How a prompt's prefix is kept."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: Literal["30m"] | None = None


class ChatRequest(SamplingFields):
    """The body of POST /v1/chat/completions. A field that is null has its default."""

    messages: Annotated[list[Message], WithJsonSchema(description.MESSAGES)] = Field(min_length=1)
    max_completion_tokens: int | None = Field(
        default=None, ge=0, description="Default: what the context holds."
    )
    max_tokens: int | None = Field(default=None, ge=0, description="The older name of the same.")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: Annotated[
        Annotated[list[Tool], Field(max_length=128)] | None, WithJsonSchema(description.TOOLS)
    ] = None
    tool_choice: Annotated[
        Literal["none", "auto", "required"] | ToolChoice | None, WithJsonSchema(description.TOOL_CHOICE)
    ] = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[FunctionSpec], Field(min_length=1, max_length=128)] | None = None
    function_call: Literal["none", "auto"] | Named | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    safety_identifier: Annotated[Text, StringConstraints(max_length=64)] | None = None
    prompt_cache_key: Text | None = Field(default=None, description="Kept; equal prefixes are found without.")
    prompt_cache_options: Annotated[CacheOptions | None, WithJsonSchema(neutral({"mode": "implicit"}))] = None
    prompt_cache_retention: Annotated[
        Literal["in_memory", "24h"] | None, WithJsonSchema(neutral("in_memory"))
    ] = None
    service_tier: Annotated[
        Literal["auto", "default", "flex", "scale", "priority", "fast"] | None,
        WithJsonSchema(neutral("auto", "default")),
    ] = None
    modalities: Annotated[list[Literal["text", "audio"]] | None, WithJsonSchema(neutral(["text"]))] = None
    reasoning_effort: Annotated[
        Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None,
        WithJsonSchema(neutral("none")),
    ] = None
    verbosity: Annotated[Literal["low", "medium", "high"] | None, WithJsonSchema(neutral("medium"))] = None
    audio: Annotated[dict[str, Any] | None, WithJsonSchema(neutral())] = None
    prediction: Annotated[dict[str, Any] | None, WithJsonSchema(neutral())] = None
    web_search_options: Annotated[dict[str, Any] | None, WithJsonSchema(neutral())] = None
    moderation: Annotated[dict[str, Any] | None, WithJsonSchema(neutral())] = None
