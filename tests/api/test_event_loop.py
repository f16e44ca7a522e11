"""What a request's text takes is taken off the event loop: others' tokens do not wait for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from bottega.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from conftest import Running

TEXT = "The master drew the hand of the angel. "
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "completions": ("/v1/completions", {"model": "bardi", "prompt": TEXT, "max_tokens": 1}),
    "chat": (
        "/v1/chat/completions",
        {"model": "bardi", "messages": [{"role": "user", "content": TEXT}], "max_tokens": 1},
    ),
    "embeddings": ("/v1/embeddings", {"model": "bardi", "input": TEXT}),
    "search": ("/v1/engines/bardi/search", {"documents": [TEXT], "query": "angel"}),
    "classifications": (
        "/v1/classifications",
        {"model": "bardi", "query": TEXT, "examples": [["gold", "Good"], ["lead", "Bad"]]},
    ),
    "answers": (
        "/v1/answers",
        {
            "model": "bardi",
            "question": "Who drew?",
            "documents": [TEXT],
            "examples": [["Who swept?", "The boy."]],
            "examples_context": "The boy swept.",
        },
    ),
    "edits": ("/v1/edits", {"model": "bardi", "input": TEXT, "instruction": "Correct it."}),
    "tokenize": ("/tokenize", {"prompt": TEXT, "return_token_strs": True, "model": "bardi"}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_texts_are_encoded_in_threads(
    http: httpx.Client, running: Running, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, on_loop = Tokenizer.encode, []

    def watched(self: Tokenizer, text: str, **options: Any) -> list[int]:
        try:
            asyncio.get_running_loop()
            on_loop.append(True)
        except RuntimeError:  # a thread without a loop
            on_loop.append(False)
        return encode(self, text, **options)

    monkeypatch.setattr(Tokenizer, "encode", watched)
    path, body = REQUESTS[name]
    assert http.post(path, json=body).status_code == 200
    assert on_loop and not any(on_loop)
