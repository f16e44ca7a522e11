"""What does not work is refused in OpenAI's envelope, with the field and a code."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

GOOD = {"model": "bardi", "prompt": "x", "max_tokens": 1}

CASES: list[tuple[dict[str, Any], int, str | None, str | None]] = [
    ({"model": "nobody"}, 404, "model", "model_not_found"),
    ({"modle": "x"}, 400, "modle", "unknown_parameter"),
    ({"suffix": "end"}, 400, "suffix", "unsupported_value"),
    ({"temperature": 2.1}, 400, "temperature", "invalid_value"),
    ({"temperature": "hot"}, 400, "temperature", "invalid_type"),
    ({"max_tokens": "5"}, 400, "max_tokens", "invalid_type"),
    ({"max_tokens": -1}, 400, "max_tokens", "invalid_value"),
    ({"max_tokens": 1.5}, 400, "max_tokens", "invalid_type"),
    ({"max_tokens": True}, 400, "max_tokens", "invalid_type"),
    ({"max_tokens": 10**30}, 400, "max_tokens", None),
    ({"max_tokens": 1024}, 400, "max_tokens", "context_length_exceeded"),
    ({"prompt": "word " * 3000}, 400, "prompt", "context_length_exceeded"),
    ({"prompt": []}, 400, "prompt", None),
    ({"prompt": [[]]}, 400, "prompt", None),
    ({"prompt": [1, "x"]}, 400, "prompt", None),
    ({"prompt": {"text": "x"}}, 400, "prompt", None),
    ({"prompt": [-1]}, 400, "prompt", "invalid_value"),
    ({"prompt": [10**9]}, 400, "prompt", "invalid_value"),
    ({"prompt": [[1], [10**25]]}, 400, "prompt", "invalid_value"),
    ({"prompt": "half a pair: \ud83d"}, 400, "prompt", None),
    ({"stop": "\ud83d"}, 400, "stop", None),
    ({"model": "\ud83d"}, 404, "model", "model_not_found"),
    ({"n": 0}, 400, "n", "invalid_value"),
    ({"n": 129}, 400, "n", "invalid_value"),
    ({"best_of": 21}, 400, "best_of", "invalid_value"),
    ({"n": 3, "best_of": 2}, 400, "best_of", "invalid_value"),
    ({"best_of": 2, "stream": True}, 400, "best_of", "unsupported_value"),
    ({"logprobs": 6}, 400, "logprobs", "invalid_value"),
    ({"stream_options": {"include_usage": True}}, 400, "stream_options", "invalid_value"),
    ({"stream": True, "stream_options": {"shout": True}}, 400, "stream_options", "unknown_parameter"),
    ({"stop": ["a", "b", "c", "d", "e"]}, 400, "stop", None),
    ({"stop": ""}, 400, "stop", "invalid_value"),
    ({"logit_bias": {"one": 1}}, 400, "logit_bias", "invalid_value"),
    ({"logit_bias": {"99999": 1}}, 400, "logit_bias", "invalid_value"),
    ({"logit_bias": {"1": 101}}, 400, "logit_bias", "invalid_value"),
    ({"seed": 2**63}, 400, "seed", None),
    ({"min_p": 1.5}, 400, "min_p", "invalid_value"),
    ({"top_k": -1}, 400, "top_k", "invalid_value"),
    ({"repetition_penalty": 0}, 400, "repetition_penalty", "invalid_value"),
]


@pytest.mark.parametrize(("fields", "status", "param", "code"), CASES)
def test_refusals(
    http: httpx.Client, fields: dict[str, Any], status: int, param: str, code: str | None
) -> None:
    body = json.dumps(GOOD | fields)  # which escapes half a surrogate pair; the client would not send one
    answer = http.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")
    assert error["message"]
    assert code is None or error["code"] == code


def test_the_stock_client_raises_its_own_classes(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.completions.create(model="nobody", prompt="x")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")
    with pytest.raises(openai.BadRequestError) as bad:
        client.completions.create(model="bardi", prompt="x", stream=True, max_tokens=5000)
    assert bad.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"3", b'{"model": "bardi", "temperature": NaN}', b"\xff"]
)
def test_a_body_that_is_no_object(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_missing_field_is_named(http: httpx.Client) -> None:
    error = http.post("/v1/completions", json={"prompt": "x"}).json()["error"]
    assert (error["param"], error["code"]) == ("model", "missing_required_parameter")


def test_a_form_is_no_json(http: httpx.Client) -> None:
    """A page of another site can post text/plain without asking; such a body is never read as JSON."""
    answer = http.post(
        "/v1/completions", content='{"model": "bardi"}', headers={"content-type": "text/plain"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_unknown_addresses(http: httpx.Client) -> None:
    for method, path, status in [("GET", "/v1/nothing", 404), ("GET", "/v1/completions", 405)]:
        answer = http.request(method, path)
        assert answer.status_code == status
        assert path in answer.json()["error"]["message"]


def test_only_loopback_names_and_pages_are_answered(http: httpx.Client) -> None:
    port = http.base_url.port
    for host in (f"localhost:{port}", f"[::1]:{port}", "127.0.0.1"):
        assert http.get("/health", headers={"host": host}).status_code == 200
    for host in ("bottega.example", f"localhost.example:{port}", "", "[", "10.0.0.7"):
        answer = http.get("/v1/models", headers={"host": host})
        assert answer.status_code in (400, 403)
    assert http.get("/health", headers={"origin": f"http://localhost:{port}"}).status_code == 200
    answer = http.post("/v1/completions", json=GOOD, headers={"origin": "https://foreign.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert http.post("/v1/completions", json=GOOD, headers={"origin": "null"}).status_code == 403


def test_every_route_is_described(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    assert {"/v1/completions", "/v1/models", "/v1/models/{model}", "/health"} <= set(paths)
