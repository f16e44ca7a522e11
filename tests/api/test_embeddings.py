"""POST /v1/embeddings over a real socket, with the stock client."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch

from bottega.models.gpt import GPT
from bottega.text.tokenizer import Tokenizer
from tests.api.conftest import TEXT, Running

WIDTH = 16


def expected(gpt: GPT, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        mean = gpt.hidden(torch.tensor([ids]))[0].mean(0)
    return (mean / mean.norm()).numpy()


def test_the_four_forms_of_input(client: openai.OpenAI, gpt: GPT, tokenizer: Tokenizer) -> None:
    ids = [tokenizer.encode(text) for text in TEXT]
    for form in (TEXT, ids):
        answer = client.embeddings.create(model="bardi", input=form)
        assert (answer.object, answer.model) == ("list", "bardi")
        assert [one.index for one in answer.data] == [0, 1, 2]
        assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(map(len, ids))
        for one, tokens in zip(answer.data, ids, strict=True):
            assert one.object == "embedding"
            np.testing.assert_allclose(one.embedding, expected(gpt, tokens), atol=1e-4)
        single = client.embeddings.create(model="bardi", input=form[1])
        np.testing.assert_allclose(single.data[0].embedding, answer.data[1].embedding, atol=1e-4)


def test_both_encodings_say_the_same(http: httpx.Client) -> None:
    def ask(**fields: Any) -> Any:
        answer = http.post("/v1/embeddings", json={"model": "bardi", "input": TEXT[0], **fields})
        assert answer.status_code == 200
        return answer.json()["data"][0]["embedding"]

    plain = ask()
    assert ask(encoding_format="float", user="apprentice-7", dimensions=None) == plain
    packed = np.frombuffer(base64.b64decode(ask(encoding_format="base64")), "<f4")
    np.testing.assert_array_equal(packed, np.asarray(plain, "<f4"))
    assert len(plain) == WIDTH
    assert np.linalg.norm(plain) == pytest.approx(1, abs=1e-5)


def test_fewer_dimensions_are_the_first_ones_at_unit_length(client: openai.OpenAI) -> None:
    whole = np.array(client.embeddings.create(model="bardi", input=TEXT[0]).data[0].embedding)
    for dimensions in (1, 5, WIDTH):
        short = client.embeddings.create(model="bardi", input=TEXT[0], dimensions=dimensions)
        kept = whole[:dimensions]
        np.testing.assert_allclose(short.data[0].embedding, kept / np.linalg.norm(kept), atol=1e-5)


def test_many_inputs_come_back_in_their_order(client: openai.OpenAI) -> None:
    texts = [f"The apprentice swept floor {i}" for i in range(150)]
    answer = client.embeddings.create(model="bardi", input=texts)
    assert [one.index for one in answer.data] == list(range(150))
    for i in (0, 77, 149):
        alone = client.embeddings.create(model="bardi", input=texts[i]).data[0].embedding
        np.testing.assert_allclose(answer.data[i].embedding, alone, atol=1e-4)


def test_by_engine(http: httpx.Client) -> None:
    by_model = http.post("/v1/embeddings", json={"model": "bardi", "input": TEXT[0]}).json()
    assert http.post("/v1/engines/bardi/embeddings", json={"input": TEXT[0]}).json() == by_model


def test_too_many_dimensions_cost_no_computing(http: httpx.Client, running: Running) -> None:
    asked: list[int] = []
    before, running.served.engine.on_submit = (
        running.served.engine.on_submit,
        lambda requests, _: asked.append(len(requests)),
    )
    try:
        for path in ("/v1/embeddings", "/v1/engines/bardi/embeddings"):
            body = {"model": "bardi", "input": TEXT[0], "dimensions": WIDTH + 1}
            answer = http.post(path, json=body)
            assert answer.status_code == 400
            assert f"embeddings have {WIDTH}" in answer.json()["error"]["message"]
        assert http.post("/v1/embeddings", json=body | {"dimensions": WIDTH}).status_code == 200
    finally:
        running.served.engine.on_submit = before
    assert asked == [1]


CASES: list[tuple[dict[str, Any], int, str, str | None]] = [
    ({"model": "nobody"}, 404, "model", "model_not_found"),
    ({"input": ""}, 400, "input", "invalid_value"),
    ({"input": []}, 400, "input", "invalid_value"),
    ({"input": ["x", ""]}, 400, "input", "invalid_value"),
    ({"input": [[1], []]}, 400, "input", "invalid_value"),
    ({"input": [1, "x"]}, 400, "input", None),
    ({"input": None}, 400, "input", None),
    ({"input": [10**9]}, 400, "input", "invalid_value"),
    ({"input": ["x"] * 2049}, 400, "input", "invalid_value"),
    ({"input": "word " * 3000}, 400, "input", "context_length_exceeded"),
    ({"input": [1] * 1025}, 400, "input", "context_length_exceeded"),
    ({"dimensions": 0}, 400, "dimensions", "invalid_value"),
    ({"dimensions": WIDTH + 1}, 400, "dimensions", "invalid_value"),
    ({"encoding_format": "int8"}, 400, "encoding_format", "invalid_value"),
    ({"truncate": True}, 400, "truncate", "unknown_parameter"),
]


@pytest.mark.parametrize(("fields", "status", "param", "code"), CASES)
def test_refusals(
    http: httpx.Client, fields: dict[str, Any], status: int, param: str, code: str | None
) -> None:
    answer = http.post("/v1/embeddings", json={"model": "bardi", "input": "x"} | fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")
    assert code is None or error["code"] == code
