"""What POST /v1/embeddings takes and gives."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bottega.server.schema import Text


class EmbeddingRequest(BaseModel):
    """The body of POST /v1/embeddings."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    input: Text | list[Text] | list[int] | list[list[int]] = Field(
        description="One input or up to 2048, as text or token ids; none may be empty."
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="base64: the bytes of little-endian 32-bit floats."
    )
    dimensions: int | None = Field(None, ge=1, description="Keep the first so many, scaled to unit length.")
    user: str | None = None


class Embedding(BaseModel):
    """One input as a vector of unit length."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Counts of tokens."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """The answer of POST /v1/embeddings."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
