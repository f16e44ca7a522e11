"""A model as the server holds it: its engine, its tokenizer and its name."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from bottega.engine.engine import Engine
from bottega.server.errors import ApiError
from bottega.text.chat_template import ChatTemplate
from bottega.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from fastapi import Request

    from bottega.models.gpt import GPT


@dataclass(frozen=True)
class Served:
    """A running engine with the tokenizer that belongs to its model."""

    engine: Engine
    tokenizer: Tokenizer
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def start(cls, model: GPT, tokenizer: Tokenizer, slots: int = 8) -> Served:
        """Start an engine for a model."""
        return cls(Engine(model, tokenizer.end_of_text, slots), tokenizer)

    @cached_property
    def chat(self) -> ChatTemplate:
        """How the model reads conversations; InputError where it cannot."""
        return ChatTemplate(self.tokenizer)


def find(request: Request, name: str) -> Served:
    """The served model of that name; 404 `model_not_found` where there is none."""
    models: dict[str, Served] = request.app.state.models
    if name not in models:
        raise ApiError(f"The model {name!r} does not exist.", "model", "model_not_found", 404)
    return models[name]
