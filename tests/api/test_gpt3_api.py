"""The routes of the GPT-3 era over a real socket, held to OpenAI's published specifications of 2022."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import torch
import yaml

from bottega.models.gpt import GPT
from bottega.server.search import Document, likely
from bottega.text.tokenizer import Tokenizer
from tests.api.conftest import TEXT

REVIEWS = [["A happy moment", "positive"], ["I am sad.", "NEGATIVE"], ["I am feeling awesome", "Positive"]]
QUESTION: dict[str, Any] = {
    "model": "bardi",
    "question": "which puppy is happy?",
    "documents": ["Puppy A is happy.", "Puppy B is sad."],
    "examples_context": "In 2017 the workshop had four apprentices.",
    "examples": [["How many apprentices were there in 2017?", "Four."]],
    "max_tokens": 5,
}
REVIEW = {"model": "bardi", "query": "It is a raining day :(", "examples": REVIEWS}


def post(http: httpx.Client, path: str, **fields: Any) -> dict[str, Any]:
    answer = http.post(path, json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(params=["2022-01", "2022-06", "2022-11"])
def specification(request: pytest.FixtureRequest, shared_data: Path) -> dict[str, Any]:
    path = shared_data / "specs" / f"openai-{request.param}.yaml"
    return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def check(specification: dict[str, Any], name: str, answer: dict[str, Any]) -> None:
    """Hold an answer to a schema of a specification, if it has that schema."""
    schemas = specification["components"]["schemas"]
    if name in schemas:
        schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": _nullable(schemas)}}
        jsonschema.validate(answer, schema)


def _nullable(schema: Any) -> Any:
    """OpenAPI 3.0's `nullable` and untyped list entries that may be null, in the words of JSON Schema."""
    if isinstance(schema, list):
        return [_nullable(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _nullable(one) for name, one in schema.items()}
    if inner.get("nullable") and isinstance(inner.get("type"), str):
        inner["type"] = [inner["type"], "null"]
    return inner


def test_answers_are_those_of_the_specification(http: httpx.Client, specification: dict[str, Any]) -> None:
    def hold(name: str, answer: dict[str, Any]) -> None:
        check(specification, name, answer)

    hold("ListEnginesResponse", http.get("/v1/engines").json())
    hold("Engine", http.get("/v1/engines/bardi").json())
    hold("ListModelsResponse", http.get("/v1/models").json())
    hold("Model", http.get("/v1/models/bardi").json())
    hold("CreateCompletionResponse", post(http, "/v1/engines/bardi/completions", prompt="x", max_tokens=2))
    hold("CreateEmbeddingResponse", post(http, "/v1/engines/bardi/embeddings", input="x"))
    hold("CreateSearchResponse", post(http, "/v1/engines/bardi/search", documents=["a", "b"], query="c"))
    hold("CreateClassificationResponse", post(http, "/v1/classifications", **REVIEW))
    hold("CreateAnswerResponse", post(http, "/v1/answers", **QUESTION))
    hold("CreateEditResponse", post(http, "/v1/edits", model="bardi", instruction="Shorten.", input="x"))


def test_the_check_sees_what_is_wrong(specification: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(specification, "CreateSearchResponse", {"data": [{"document": "zero"}]})


def test_engines_are_the_models(http: httpx.Client) -> None:
    engines = http.get("/v1/engines").json()
    assert engines["object"] == "list"
    assert [one["id"] for one in engines["data"]] == ["bardi", "owner/tiny"]
    assert http.get("/v1/engines/owner/tiny").json() == engines["data"][1]
    assert engines["data"][1] == {
        "id": "owner/tiny",
        "object": "engine",
        "created": engines["data"][1]["created"],
        "owner": "bottega",
        "ready": True,
    }
    assert http.get("/v1/engines/nobody").json()["error"]["code"] == "model_not_found"


def test_completions_by_engine_are_completions(http: httpx.Client) -> None:
    fields: dict[str, Any] = {"prompt": "The master", "max_tokens": 6, "seed": 3, "logprobs": 2}
    by_model = post(http, "/v1/completions", model="owner/tiny", **fields)
    for model in ({}, {"model": "owner/tiny"}):
        by_engine = post(http, "/v1/engines/owner/tiny/completions", **fields, **model)
        assert by_engine["choices"] == by_model["choices"]
        assert by_engine["model"] == "owner/tiny"
    streamed = http.post("/v1/engines/bardi/completions", json=fields | {"stream": True})
    assert streamed.text.endswith("data: [DONE]\n\n")


def test_scores_compare_the_query_behind_a_document_and_alone(
    http: httpx.Client, gpt: GPT, tokenizer: Tokenizer
) -> None:
    query = "the boiling of the glue"
    answer = post(http, "/v1/engines/bardi/search", documents=TEXT, query=query, user="apprentice-7")
    assert (answer["object"], answer["model"]) == ("list", "bardi")
    assert [one["document"] for one in answer["data"]] == [0, 1, 2]
    assert all(set(one) == {"object", "document", "score"} for one in answer["data"])

    def mean(document: str) -> float:
        prefix = tokenizer.encode(document + "\n\n---\n\nThe above passage is related to:")
        ids = torch.tensor([[tokenizer.end_of_text, *prefix, *tokenizer.encode(" " + query)]])
        n = len(tokenizer.encode(" " + query))
        with torch.no_grad():
            rows = gpt(ids)[0].log_softmax(-1)
        return float(rows[-n - 1 : -1].gather(1, ids[0, -n:, None]).mean())

    alone = mean("")
    for text, found in zip(TEXT, answer["data"], strict=True):
        assert found["score"] == pytest.approx(100 * math.log1p(math.exp(mean(text) - alone)), abs=0.05)


def test_of_many_documents_those_with_the_words_are_read() -> None:
    documents = [Document(i, f"note {i} of the master") for i in range(300)]
    documents[250] = Document(250, "the angel's hand")
    found = likely("Whose hand is the angel's?", documents, 20)
    assert len(found) == 20
    assert documents[250] in found
    assert [one.index for one in found] == sorted(one.index for one in found)
    assert likely("zzz", documents, 20) != []
    assert likely("hand", documents, 300) == documents


def test_answers_come_from_the_best_documents(http: httpx.Client) -> None:
    answer = post(http, "/v1/answers", **QUESTION, n=3, temperature=1.0, return_prompt=True)
    assert answer["object"] == "answer"
    assert len(answer["answers"]) == 3
    texts = {one["document"]: one["text"] for one in answer["selected_documents"]}
    assert texts == dict(enumerate(QUESTION["documents"]))
    scores = post(
        http, "/v1/engines/bardi/search", documents=QUESTION["documents"], query=QUESTION["question"]
    )["data"]
    best = max(scores, key=lambda one: one["score"])["document"]
    assert answer["selected_documents"][0]["document"] == best
    assert answer["prompt"].endswith("\nQ: which puppy is happy?\nA:")
    assert QUESTION["examples_context"] in answer["prompt"]
    assert "Q: How many apprentices were there in 2017?\nA: Four.\n" in answer["prompt"]
    expanded = post(http, "/v1/answers", **QUESTION, expand=["completion"])
    assert [choice["text"].strip() for choice in expanded["completion"]["choices"]] == expanded["answers"]
    assert expanded["completion"]["usage"]["completion_tokens"] <= 5


def test_documents_that_do_not_fit_are_left_out_from_the_worst_on(http: httpx.Client) -> None:
    documents = [f"{TEXT[0]} {TEXT[1]} number {i}." for i in range(60)]
    fields = QUESTION | {"documents": documents, "question": "What did the master draw?", "max_tokens": 16}
    answer = post(http, "/v1/answers", **fields, return_prompt=True)
    kept = [one["document"] for one in answer["selected_documents"]]
    assert 3 < len(kept) < 60
    scores = post(http, "/v1/engines/bardi/search", documents=documents, query=fields["question"])["data"]
    ranked = sorted(scores, key=lambda one: one["score"], reverse=True)
    assert set(kept) == {one["document"] for one in ranked[: len(kept)]}


def test_without_documents_the_examples_answer(http: httpx.Client) -> None:
    answer = post(http, "/v1/answers", **QUESTION | {"documents": []}, return_prompt=True)
    assert answer["selected_documents"] == []
    assert answer["prompt"].count("Context:") == 1


def test_an_edit(http: httpx.Client) -> None:
    fields: dict[str, Any] = {"model": "bardi", "input": "The mastr drew.", "instruction": "Spell it right."}
    answer = post(http, "/v1/edits", **fields, n=2, temperature=0.5, top_p=0.9)
    assert answer["object"] == "edit"
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert answer["usage"]["completion_tokens"] > 0
    greedy = [post(http, "/v1/edits", **fields, temperature=0)["choices"][0]["text"] for _ in range(2)]
    assert greedy[0] == greedy[1]
    assert post(http, "/v1/edits", model="bardi", instruction="Write a poem.")["choices"][0]["index"] == 0


LONG = "word " * 3000
SEARCH, LABEL, ANSWER, EDIT = "/v1/engines/bardi/search", "/v1/classifications", "/v1/answers", "/v1/edits"
TOO_LONG = "context_length_exceeded"
CASES: list[tuple[str, dict[str, Any], int, str | None, str | None]] = [
    ("/v1/engines/nobody/search", {"documents": ["a"], "query": "b"}, 404, "engine_id", "model_not_found"),
    (SEARCH, {"documents": ["a"]}, 400, "query", "missing_required_parameter"),
    (SEARCH, {"query": "b"}, 400, "documents", "invalid_value"),
    (SEARCH, {"documents": [], "query": "b"}, 400, "documents", None),
    (SEARCH, {"documents": ["a"] * 201, "query": "b"}, 400, "documents", None),
    (SEARCH, {"documents": ["a"], "query": ""}, 400, "query", None),
    (SEARCH, {"documents": ["a"], "file": "file-x", "query": "b"}, 400, "documents", None),
    (SEARCH, {"file": "file-x", "query": "b"}, 404, "file", "not_found"),
    (SEARCH, {"file": "../x", "query": "b"}, 404, "file", "not_found"),
    (SEARCH, {"documents": ["a", LONG], "query": "b"}, 400, "documents", TOO_LONG),
    (SEARCH, {"documents": ["a"], "query": LONG}, 400, "query", TOO_LONG),
    (SEARCH, {"documents": ["a"], "query": "b", "max_rerank": 0}, 400, "max_rerank", None),
    ("/v1/engines/bardi/completions", {"model": "owner/tiny"}, 400, "model", "invalid_value"),
    (LABEL, REVIEW | {"model": "nobody"}, 404, "model", "model_not_found"),
    (LABEL, REVIEW | {"search_model": "ada"}, 404, "search_model", "model_not_found"),
    (LABEL, REVIEW | {"examples": None}, 400, "examples", "invalid_value"),
    (LABEL, REVIEW | {"examples": REVIEWS[:1]}, 400, "examples", None),
    (LABEL, REVIEW | {"examples": [["a", "b", "c"], ["a", "b"]]}, 400, "examples", None),
    (LABEL, REVIEW | {"labels": ["Good", "Bad"]}, 400, "labels", "invalid_value"),
    (LABEL, REVIEW | {"expand": ["model"]}, 400, "expand", "invalid_value"),
    (LABEL, REVIEW | {"logprobs": 6}, 400, "logprobs", "invalid_value"),
    (LABEL, REVIEW | {"temperature": 3}, 400, "temperature", "invalid_value"),
    (LABEL, REVIEW | {"n": 2}, 400, "n", "unknown_parameter"),
    (ANSWER, QUESTION | {"documents": None}, 400, "documents", "invalid_value"),
    (ANSWER, QUESTION | {"examples_context": LONG}, 400, "question", TOO_LONG),
    (ANSWER, QUESTION | {"n": 11}, 400, "n", "invalid_value"),
    (ANSWER, QUESTION | {"max_tokens": 5000}, 400, "question", TOO_LONG),
    (ANSWER, QUESTION | {"examples": []}, 400, "examples", None),
    (ANSWER, QUESTION | {"stop": ""}, 400, "stop", "invalid_value"),
    (EDIT, {"model": "bardi"}, 400, "instruction", "missing_required_parameter"),
    (EDIT, {"model": "bardi", "instruction": "x", "input": LONG}, 400, "input", TOO_LONG),
    (EDIT, {"model": "bardi", "instruction": "x", "n": 21}, 400, "n", "invalid_value"),
]


@pytest.mark.parametrize(("path", "fields", "status", "param", "code"), CASES)
def test_refusals(
    http: httpx.Client, path: str, fields: dict[str, Any], status: int, param: str | None, code: str | None
) -> None:
    answer = http.post(path, json=fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (status, "invalid_request_error")
    assert param is None or error["param"] == param
    assert code is None or error["code"] == code
