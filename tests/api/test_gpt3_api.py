"""The routes of the GPT-3 era over a real socket, held to OpenAI's published specifications of 2022."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import openai
import pytest
import torch
import yaml

from bottega.models.gpt import GPT
from bottega.server.gpt3.search import Document, likely
from bottega.text.tokenizer import Tokenizer
from tests.api.conftest import TEXT, Running

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
    (SEARCH, {"file": "file-x", "query": "b", "max_rerank": 1001}, 400, "max_rerank", None),
    (LABEL, {"model": "bardi", "query": "x", "file": "f", "max_examples": 1001}, 400, "max_examples", None),
    (ANSWER, QUESTION | {"documents": None, "file": "f", "max_rerank": 1001}, 400, "max_rerank", None),
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


def test_a_label_is_chosen_among_the_labels(http: httpx.Client) -> None:
    answer = post(http, "/v1/classifications", **REVIEW, return_prompt=True)
    assert answer["object"] == "classification"
    assert (answer["model"], answer["search_model"]) == ("bardi", "bardi")
    assert answer["label"] in ("Positive", "Negative")
    assert answer["completion"].startswith("cmpl-")
    assert "file" not in answer
    selected = {one["document"]: (one["text"], one["label"]) for one in answer["selected_examples"]}
    assert selected == {i: (text, label.capitalize()) for i, (text, label) in enumerate(REVIEWS)}
    assert answer["prompt"].endswith(f"Text: {REVIEW['query']}\nLabel:")
    assert all(f"Text: {text}\nLabel: {label}\n" in answer["prompt"] for text, label in selected.values())


def test_the_fields_of_classifications(http: httpx.Client, tokenizer: Tokenizer) -> None:
    labels = ["positive", "Negative", "neutral"]
    answer = post(
        http, "/v1/classifications", **REVIEW, labels=labels, logprobs=2, logit_bias={}, user="apprentice-7"
    )
    completion = answer["completion"]
    assert completion["object"] == "text_completion"
    assert completion["choices"][0]["text"] == f" {answer['label']}"
    assert len(completion["choices"][0]["logprobs"]["tokens"]) >= 1
    assert "prompt" not in answer
    drawn = {
        post(http, "/v1/classifications", **REVIEW, labels=labels, temperature=2.0)["label"]
        for _ in range(12)
    }
    assert drawn <= {"Positive", "Negative", "Neutral"}
    assert len(drawn) > 1
    only = [[text, "Neutral"] for text, _ in REVIEWS]
    assert post(http, "/v1/classifications", **REVIEW | {"examples": only})["label"] == "Neutral"
    for letter, chosen in [("P", {"Positive"}), ("N", {"Negative", "Neutral"})]:
        bias = {str(tokenizer.encode(letter)[0]): 100}
        biased = post(http, "/v1/classifications", **REVIEW, labels=labels, logit_bias=bias)
        assert biased["label"] in chosen


LINES = {
    "search": [{"text": text, "metadata": f"note {i}"} for i, text in enumerate(TEXT)],
    "answers": [{"text": "Puppy A is happy.\nPuppy B is sad.", "metadata": {"shelf": 7}}, {"text": TEXT[0]}],
    "classifications": [{"text": text, "label": label, "metadata": "seen"} for text, label in REVIEWS],
}


@pytest.fixture
def files(client: openai.OpenAI) -> Iterator[dict[str, str]]:
    """An uploaded file of each purpose: its id."""
    ids = {}
    for purpose, lines in LINES.items():
        content = "\n".join(json.dumps(line) for line in lines).encode()
        ids[purpose] = client.files.create(file=("lines.jsonl", content), purpose=purpose).id  # type: ignore[arg-type]
    yield ids
    for id in ids.values():
        client.files.delete(id)


def test_a_file_whose_content_is_gone_is_missing(
    http: httpx.Client, files: dict[str, str], running: Running
) -> None:
    app: Any = running.server.config.app
    (app.state.store.files / files["search"]).unlink()
    body = {"file": files["search"], "query": "x"}
    answer = http.post("/v1/engines/bardi/search", json=body)
    assert answer.status_code == 404
    assert answer.json()["error"]["param"] == "file"


def test_a_file_is_searched(http: httpx.Client, files: dict[str, str]) -> None:
    path, query = "/v1/engines/bardi/search", "the sweeping of the floor"
    inline = post(http, path, documents=TEXT, query=query)["data"]
    found = post(http, path, file=files["search"], query=query, return_metadata=True)["data"]
    assert [one["score"] for one in found] == sorted((one["score"] for one in inline), reverse=True)
    assert all(one["text"] == TEXT[one["document"]] for one in found)
    assert all(one["metadata"] == f"note {one['document']}" for one in found)
    (best,) = post(http, path, file=files["search"], query=query, max_rerank=1)["data"]
    assert best["document"] == 1  # the only one with these words
    assert "metadata" not in best
    lines = post(http, path, file=files["answers"], query="puppy", return_metadata=True)["data"]
    assert {one["document"]: one["metadata"] for one in lines} == {0: {"shelf": 7}, 1: {"shelf": 7}, 2: None}


def test_answers_and_classifications_from_files(http: httpx.Client, files: dict[str, str]) -> None:
    fields = QUESTION | {"documents": None, "file": files["answers"]}
    answer = post(
        http, "/v1/answers", **fields, return_metadata=True, expand=["file", "completion"], max_rerank=2
    )
    assert {one["text"] for one in answer["selected_documents"]} == {"Puppy A is happy.", "Puppy B is sad."}
    assert all(one["metadata"] == {"shelf": 7} for one in answer["selected_documents"])
    assert (answer["file"]["id"], answer["file"]["purpose"]) == (files["answers"], "answers")
    fields = {"model": "bardi", "query": "What a day", "file": files["classifications"]}
    labelled = post(http, "/v1/classifications", **fields, max_examples=2, return_metadata=True)
    assert len(labelled["selected_examples"]) == 2
    assert all(one["metadata"] == "seen" for one in labelled["selected_examples"])
    assert labelled["file"] == files["classifications"]


def test_a_file_for_something_else_is_refused(http: httpx.Client, files: dict[str, str]) -> None:
    for path, fields in [
        ("/v1/engines/bardi/search", {"query": "x", "file": files["classifications"]}),
        ("/v1/answers", QUESTION | {"documents": None, "file": files["classifications"]}),
        ("/v1/classifications", {"model": "bardi", "query": "x", "file": files["search"]}),
    ]:
        answer = http.post(path, json=fields)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")
