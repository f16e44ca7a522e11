"""The suite's cases with every field at once, their values within the published specification: they work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

COMPLETION: dict[str, Any] = {
    "model": "gpt-3.5-turbo-instruct",
    "prompt": "This is a test.",
    "best_of": 0,
    "echo": True,
    "frequency_penalty": -2,
    "logit_bias": {"5": 0},
    "logprobs": 0,
    "max_tokens": 16,
    "n": 1,
    "presence_penalty": -2,
    "seed": 0,
    "stop": "\n",
    "temperature": 1,
    "top_p": 1,
    "user": "user-1234",
}
CHAT: dict[str, Any] = {
    "messages": [{"content": "string", "role": "developer", "name": "name"}],
    "model": "gpt-6-astra",
    "frequency_penalty": -2,
    "logit_bias": {"5": 0},
    "logprobs": True,
    "max_completion_tokens": 4,
    "metadata": {"foo": "string"},
    "modalities": ["text"],
    "n": 1,
    "parallel_tool_calls": True,
    "presence_penalty": -2,
    "prompt_cache_key": "prompt-cache-key-1234",
    "response_format": {"type": "text"},
    "safety_identifier": "safety-identifier-1234",
    "seed": -9007199254740991,
    "service_tier": "auto",
    "stop": "\n",
    "store": True,
    "temperature": 1,
    "tool_choice": "none",
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "name",
                "description": "description",
                "parameters": {"type": "object", "properties": {"foo": {"type": "string"}}},
            },
        }
    ],
    "top_logprobs": 0,
    "top_p": 1,
    "user": "user-1234",
}
OPTIONS = {"include_usage": True, "include_obfuscation": False}


@pytest.fixture(scope="module")
def client(evergreen: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{evergreen}/v1", api_key="unused", max_retries=0) as client:
        yield client


def test_completions(client: openai.OpenAI) -> None:
    assert client.completions.create(**COMPLETION).choices[0].text.startswith("This is a test.")
    chunks = list(client.completions.create(**COMPLETION, stream=True, stream_options=OPTIONS))
    assert chunks[-1].usage is not None


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**CHAT)
    assert client.chat.completions.retrieve(answer.id).metadata == {"foo": "string"}
    chunks = list(client.chat.completions.create(**CHAT, stream=True, stream_options=OPTIONS))
    assert chunks[-1].usage is not None


def test_lists(client: openai.OpenAI) -> None:
    """Lists go on behind an object that exists, and have at least one place."""
    stored = client.chat.completions.create(**CHAT).id
    following = client.chat.completions.list(
        after="completion_id", limit=1, metadata={"foo": "string"}, model="gpt-6-astra", order="asc"
    )
    assert stored in {one.id for one in following}
    assert (
        client.files.list(after="file_id", limit=1, order="asc", purpose="batch").data[0].purpose == "batch"
    )
    assert client.batches.list(after="batch_id", limit=1).data is not None
    message = client.chat.completions.messages.list(completion_id=stored, limit=1, order="asc").data[0]
    behind = client.chat.completions.messages.list(
        completion_id=stored, after=message.id, limit=1, order="asc"
    )
    assert behind.data == []
