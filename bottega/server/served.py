"""A model as the server holds it: its engine, its tokenizer and its name."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bottega import __version__
from bottega.data.fim import FillInMiddle
from bottega.engine.engine import Engine
from bottega.engine.settings import EngineSettings
from bottega.models.load import fim_rate, load_tokenizer, load_wordpiece
from bottega.server.errors import ApiError
from bottega.text.chat_template import ChatTemplate
from bottega.text.tokenizer import Tokenizer
from bottega.text.wordpiece import WordPiece

if TYPE_CHECKING:
    from fastapi import Request


@dataclass(frozen=True)
class Served:
    """A running engine with the tokenizer that belongs to its model."""

    engine: Engine
    reads: Tokenizer | WordPiece
    created: int = field(default_factory=lambda: int(time.time()))
    fill_in_middle: FillInMiddle | None = None  # for a model that was trained for it

    @classmethod
    def start(cls, path: str | Path, settings: EngineSettings | None = None) -> Served:
        """Start an engine for the model in a run, a folder or a Hub repository; it loads in the background.

        Raises InputError where there is neither a GPT nor a sentence encoder, or no tokenizer that belongs to
        it.
        """
        engine = Engine.start(path, settings)
        try:
            if engine.embeds_only:
                return cls(engine, load_wordpiece(path))
            tokenizer = load_tokenizer(path)
            _ = tokenizer.end_of_text  # raises where there is none: such a model cannot be served
            inserts = FillInMiddle(tokenizer) if fim_rate(path) else None
        except BaseException:
            engine.close()
            raise
        return cls(engine, tokenizer, fill_in_middle=inserts)

    @property
    def tokenizer(self) -> Tokenizer:
        """That of a model which generates; the routes that need it have refused all others."""
        assert isinstance(self.reads, Tokenizer)
        return self.reads

    def fingerprint(self, model: str) -> str:
        """OpenAI's `system_fingerprint` under the name `model`: as long as it stays, seeds give the same."""
        identity = f"{__version__} {model} {self.created}"
        return f"fp_{hashlib.sha256(identity.encode()).hexdigest()[:10]}"

    @cached_property
    def chat(self) -> ChatTemplate:
        """How the model reads conversations; InputError where it cannot."""
        return ChatTemplate(self.tokenizer)


def start_all(paths: Mapping[str, str], settings: EngineSettings) -> dict[str, Served]:
    """Start the models of the given names, with one engine for the names that share a path."""
    started: dict[str, Served] = {}
    try:
        for path in paths.values():
            if path not in started:
                started[path] = Served.start(path, settings)
    except BaseException:
        for one in started.values():
            one.engine.close()
        raise
    return {name: started[path] for name, path in paths.items()}


def find(request: Request, name: str, param: str = "model") -> Served:
    """The served model that the field `param` names; 404 `model_not_found` where there is none."""
    models: dict[str, Served] = request.app.state.models
    if name not in models:
        raise ApiError(f"The model {name!r} does not exist.", param, "model_not_found", 404)
    return models[name]


def find_generator(request: Request, name: str, param: str = "model") -> Served:
    """The same where the model has to generate text: 400 for one that embeds texts alone."""
    served = find(request, name, param)
    if served.engine.embeds_only:
        message = (
            f"The model {name!r} embeds texts and generates none; ask it at /v1/embeddings, "
            "or name a model that GET /v1/models lists as one that generates."
        )
        raise ApiError(message, param, "unsupported_model")
    return served
