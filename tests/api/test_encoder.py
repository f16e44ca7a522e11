"""A sentence encoder served beside a GPT, over a real socket: embeddings, search, and what it refuses."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch
import uvicorn

from bottega.models.sentence_encoder import SentenceEncoder, SentenceEncoderConfig
from bottega.server.app import create_app
from bottega.server.guard.protocol import BoundedProtocol
from bottega.server.run import Server, greeting, listen
from bottega.server.served import Served
from bottega.text.wordpiece import WordPiece
from tests.api.conftest import TEXT, Running


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    tokenizer = WordPiece.train(TEXT * 20, 300)
    config = SentenceEncoderConfig(tokenizer.vocab_size, 32, n_layer=1, n_head=2, n_embd=16)
    model = SentenceEncoder(config, tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    folder = tmp_path_factory.mktemp("models") / "prato"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(encoder_folder: Path) -> SentenceEncoder:
    return SentenceEncoder.from_pretrained(encoder_folder)


@pytest.fixture(scope="module")
def url(running: Running, encoder_folder: Path) -> Iterator[str]:
    on_submit = running.served.engine.on_submit
    served = {"bardi": running.served, "prato": Served.start(encoder_folder)}
    listener, ready = listen("127.0.0.1", 0), threading.Event()
    config = uvicorn.Config(create_app(served), http=BoundedProtocol, log_level="warning")
    server = Server(config, served, ready.set)
    thread = threading.Thread(target=lambda: asyncio.run(server._serve([listener])), daemon=True)
    thread.start()
    assert ready.wait(60)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    served["prato"].engine.close()
    running.served.engine.on_submit = on_submit


@pytest.fixture(scope="module")
def ask(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url + "/v1", api_key="unused", max_retries=0, timeout=20)


def test_embeddings_are_the_models_own(ask: openai.OpenAI, encoder: SentenceEncoder) -> None:
    answer = ask.embeddings.create(model="prato", input=TEXT)
    found = np.array([one.embedding for one in answer.data])
    np.testing.assert_allclose(found, encoder.encode(TEXT), atol=1e-5)
    with pytest.raises(openai.BadRequestError, match="embeddings have 16"):
        ask.embeddings.create(model="prato", input=TEXT, dimensions=17)
    rows = encoder.tokenize(TEXT)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(map(len, rows))
    by_ids = ask.embeddings.create(model="prato", input=rows)
    np.testing.assert_allclose([one.embedding for one in by_ids.data], found, atol=1e-6)
    many = ask.embeddings.create(model="prato", input=[TEXT[0], TEXT[1]] * 100)
    np.testing.assert_allclose([one.embedding for one in many.data], np.tile(found[:2], (100, 1)), atol=1e-5)


def test_search_is_by_cosine(url: str, encoder: SentenceEncoder) -> None:
    body = {"documents": TEXT, "query": "the floor of the workshop"}
    answer = httpx.post(f"{url}/v1/engines/prato/search", json=body).json()
    expected = encoder.encode(TEXT) @ encoder.encode([body["query"]])[0]
    np.testing.assert_allclose([one["score"] for one in answer["data"]], expected, atol=1e-5)
    by_engine = httpx.post(f"{url}/v1/engines/prato/embeddings", json={"input": TEXT[0]}).json()
    np.testing.assert_allclose(by_engine["data"][0]["embedding"], encoder.encode(TEXT)[0], atol=1e-5)


def test_it_searches_for_a_gpt_that_answers(url: str) -> None:
    body = {
        "model": "bardi",
        "search_model": "prato",
        "question": "What did the apprentice grind?",
        "documents": TEXT,
        "examples": [["Who drew?", "The master."]],
        "examples_context": "The master drew.",
        "max_tokens": 2,
    }
    answer = httpx.post(f"{url}/v1/answers", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["selected_documents"]) == len(TEXT)


def test_models_say_what_they_can(ask: openai.OpenAI, url: str) -> None:
    listed = {model.id: model.model_dump()["abilities"] for model in ask.models.list()}
    assert listed == {"bardi": ["generate", "embed"], "prato": ["embed"]}
    assert httpx.get(f"{url}/ready").json()["models"] == {"bardi": True, "prato": True}


@pytest.mark.parametrize(
    ("route", "fields"),
    [
        ("completions", {"prompt": "x"}),
        ("chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ("edits", {"input": "x", "instruction": "y"}),
        ("classifications", {"query": "x", "examples": [["a", "b"], ["c", "d"]]}),
        ("engines/prato/completions", {"prompt": "x", "model": ""}),
    ],
)
def test_it_generates_nothing(url: str, route: str, fields: dict[str, Any]) -> None:
    body = {"model": "prato"} | fields
    if "engines" in route:
        del body["model"]
    answer = httpx.post(f"{url}/v1/{route}", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "model", "unsupported_model")
    assert "/v1/embeddings" in error["message"]


def test_what_is_too_long_or_unknown_is_refused(url: str) -> None:
    for given, code in (
        ("word " * 40, "context_length_exceeded"),
        ([10**6], "invalid_value"),
        ("", "invalid_value"),
    ):
        answer = httpx.post(f"{url}/v1/embeddings", json={"model": "prato", "input": given})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    body = {"documents": ["word " * 40], "query": "x"}
    answer = httpx.post(f"{url}/v1/engines/prato/search", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_its_tokenizer_from_afar(url: str, encoder: SentenceEncoder) -> None:
    answer = httpx.post(
        f"{url}/tokenize", json={"model": "prato", "prompt": TEXT[0], "return_token_strs": True}
    ).json()
    assert answer["tokens"] == encoder.tokenize(TEXT)[0] and answer["max_model_len"] == 32
    assert answer["token_strs"][0] == "[CLS]"
    body = {"model": "prato", "tokens": answer["tokens"][1:-1]}
    assert "apprentice" in httpx.post(f"{url}/detokenize", json=body).json()["prompt"]


def test_the_greeting_asks_what_the_model_can() -> None:
    assert "/v1/embeddings" in greeting(["prato"], "127.0.0.1:1", embeds_only=True)
