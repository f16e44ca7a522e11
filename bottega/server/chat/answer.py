"""What the chat routes give: completions, the chunks of a stream, and what is stored of them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from bottega.server.chat.schema import Metadata
from bottega.server.sampling_schema import Strict
from bottega.server.schema import Usage

Reason = Literal["stop", "length", "tool_calls", "function_call"]


class Alternative(BaseModel):
    """A token, its log-probability in nats and its bytes, which need not be whole characters."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(Alternative):
    """A token that was drawn, and the likeliest there."""

    top_logprobs: list[Alternative]


class ChatLogprobs(BaseModel):
    """The tokens of an answer, those of its calls among them."""

    content: list[TokenLogprob] | None
    refusal: None = None


class FunctionPart(BaseModel):
    """A function's name and its arguments as JSON; in a stream the next piece of them."""

    name: str | None = None
    arguments: str


class CallPart(BaseModel):
    """A call; in a stream, by its index, the next piece of one."""

    index: int | None = None
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionPart


class AnswerMessage(BaseModel):
    """What the assistant said; in a stream the next piece of it."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: None = None
    tool_calls: list[CallPart] | None = None
    function_call: FunctionPart | None = None


class ChatChoice(BaseModel):
    """One answer; the message stands in `message`, or in a stream in `delta`."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: Reason


class ChunkChoice(BaseModel):
    """The next piece of one answer."""

    index: int
    delta: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: Reason | None


class ChatCompletion(BaseModel):
    """The answer of POST /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    service_tier: Literal["default"]
    system_fingerprint: str
    metadata: dict[str, str] | None = None


class ChatChunk(BaseModel):
    """An event of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    service_tier: Literal["default"]
    system_fingerprint: str
    usage: Usage | None = None
    obfuscation: str | None = None


class ChatList(BaseModel):
    """A page of stored completions."""

    object: Literal["list"] = "list"
    data: list[ChatCompletion]
    first_id: str | None
    last_id: str | None
    has_more: bool


class StoredMessage(BaseModel):
    """A message of a stored completion's conversation."""

    id: str
    role: str
    content: str | None
    content_parts: list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class StoredMessageList(BaseModel):
    """A page of a stored completion's messages."""

    object: Literal["list"] = "list"
    data: list[StoredMessage]
    first_id: str | None
    last_id: str | None
    has_more: bool


class MetadataUpdate(Strict):
    """The body that changes a stored completion."""

    metadata: Metadata | None


class ChatDeleted(BaseModel):
    """A stored completion that was deleted."""

    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    id: str
    deleted: bool
