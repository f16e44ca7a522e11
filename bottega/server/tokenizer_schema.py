"""What the tokenizer's routes take and give: the fields of vLLM's, which lm-eval's remote tokenizer calls."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bottega.server.schema import Text


class TokenizeRequest(BaseModel):
    """The body of POST /tokenize."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(None, description="Needed where models with different tokenizers are served.")
    prompt: Text
    add_special_tokens: bool | None = Field(
        None, description="Without effect: no tokenizer here puts anything before or after a text."
    )
    return_token_strs: bool | None = Field(None, description="Whether to give each token as text too.")
    parse_special: bool | None = Field(
        None, description="Extension: whether the special tokens that the text spells are encoded as such."
    )


class Tokens(BaseModel):
    """The answer of POST /tokenize."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeRequest(BaseModel):
    """The body of POST /detokenize."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(None, description="Needed where models with different tokenizers are served.")
    tokens: list[int]


class Detokenized(BaseModel):
    """The answer of POST /detokenize."""

    prompt: str


class TokenizerInfo(BaseModel):
    """The answer of GET /tokenizer_info: the special tokens by name, and what tokenizer_config.json says."""

    model_config = ConfigDict(extra="allow")

    tokenizer_class: str
    vocab_size: int
    max_model_len: int
    eos_token: str
    bos_token: str | None
    pad_token: str | None
    unk_token: str | None
    chat_template: Any = None
