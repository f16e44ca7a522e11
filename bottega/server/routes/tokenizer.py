"""POST /tokenize, POST /detokenize and GET /tokenizer_info: a served model's tokenizer, from afar."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request

from bottega.server.completions.pieces import token_text
from bottega.server.completions.reading import check_token
from bottega.server.errors import ApiError
from bottega.server.schema import ErrorAnswer
from bottega.server.served import Served, find
from bottega.server.tokenizer_schema import (
    Detokenized,
    DetokenizeRequest,
    TokenizeRequest,
    TokenizerInfo,
    Tokens,
)

router = APIRouter(responses={status: {"model": ErrorAnswer} for status in (400, 404)})


@router.post("/tokenize")
async def tokenize(request: Request, body: TokenizeRequest) -> Tokens:
    """The token ids of a text.

    Special tokens that the text spells are ordinary text unless `parse_special` asks for them. A text that is
    nothing but the name of one is that token: this is how lm-eval learns the id of the end of the text.
    """
    served = _chosen(request, body.model)
    tokenizer = served.reads
    special = bool(body.parse_special) or body.prompt in tokenizer.special_tokens

    def read() -> tuple[list[int], list[str] | None]:
        ids = tokenizer.encode(body.prompt, encode_special_tokens=special)
        return ids, [token_text(tokenizer, id) for id in ids] if body.return_token_strs else None

    ids, texts = await asyncio.to_thread(read)
    return Tokens(count=len(ids), max_model_len=served.engine.context_length, tokens=ids, token_strs=texts)


@router.post("/detokenize")
async def detokenize(request: Request, body: DetokenizeRequest) -> Detokenized:
    """The text of token ids, special tokens by their names."""
    served = _chosen(request, body.model)
    for id in {min(body.tokens), max(body.tokens)} if body.tokens else ():
        check_token(id, served, "tokens")
    return Detokenized(prompt=await asyncio.to_thread(served.reads.decode, body.tokens))


@router.get("/tokenizer_info")
async def tokenizer_info(request: Request, model: str | None = None) -> TokenizerInfo:
    """What a client has to know of the tokenizer, as tokenizer_config.json would tell it."""
    served = _chosen(request, model)
    tokenizer = served.reads
    config = {name: value for name, value in tokenizer.config.items() if not name.endswith("_token")}
    named = {name: _name(tokenizer.config.get(name)) for name in ("bos_token", "pad_token", "unk_token")}
    known = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "vocab_size": tokenizer.vocab_size,
        "max_model_len": served.engine.context_length,
        "eos_token": tokenizer.decode([tokenizer.end_of_text]),
    }
    return TokenizerInfo.model_validate({**config, **known, **named})


def _chosen(request: Request, model: str | None) -> Served:
    """The model named, or where none is named the first of them if all have the same tokenizer."""
    if model is not None:
        return find(request, model)
    models: dict[str, Served] = request.app.state.models
    first, *others = models.values()
    if any(one.reads.to_json() != first.reads.to_json() for one in others):
        message = (
            f"The served models have different tokenizers; choose one with 'model': {', '.join(models)}."
        )
        raise ApiError(message, "model", "missing_required_parameter")
    return first


def _name(token: Any) -> str | None:
    """A special token of tokenizer_config.json, which may stand there with its properties."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else None
