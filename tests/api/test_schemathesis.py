"""The server against its own description: no undocumented status, type, header or body, whatever is sent.

Cases are drawn from /openapi.json with a fixed seed. Nine of ten name objects that exist. On routes that
generate three of ten must reach the engine, else the description would promise what is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from bottega.server.app import create_app
from bottega.server.store import Store
from bottega.server.store.contents import seed_file

if TYPE_CHECKING:
    from conftest import Running

    from bottega.engine.request import Request
    from bottega.engine.stream import Stream

EXAMPLES = 50
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DESCRIBED = create_app({}).openapi()
OPERATIONS = [(method.upper(), path) for path, verbs in DESCRIBED["paths"].items() for method in verbs]
GENERATING = frozenset(
    {
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/answers",
        "/v1/classifications",
        "/v1/edits",
        "/v1/engines/{engine_id}/completions",
        "/v1/engines/{engine_id}/embeddings",
        "/v1/engines/{engine_id}/search",
    }
)
REAL = {
    "model": "bardi",
    "search_model": "bardi",
    "engine_id": "bardi",
    "file_id": "file-search",
    "input_file_id": "file-batch",
    "batch_id": "batch-real",
    "completion_id": "chatcmpl-real",
}


@pytest.fixture
def reached(running: Running) -> Iterator[list[Sequence[Request]]]:
    """What the engine is asked while the test runs."""
    engine, asked = running.served.engine, []
    observer = engine.on_submit

    def on_submit(requests: Sequence[Request], stream: Stream) -> None:
        asked.append(requests)
        if observer is not None:
            observer(requests, stream)

    engine.on_submit = on_submit
    yield asked
    engine.on_submit = observer


@pytest.fixture(scope="session")
def store(running: Running) -> Store:
    return running.server.config.app.state.store


def provide(store: Store) -> None:
    """Bring the named objects back: a case before may have deleted them."""
    call = {"custom_id": "1", "method": "POST", "url": "/v1/completions"}
    call["body"] = {"model": "bardi", "prompt": "x", "max_tokens": 1}
    example = {"text": "The master draws.", "label": "Drawing"}
    for id, purpose, line in (
        ("file-batch", "batch", call),
        ("file-search", "search", example),
        ("file-answers", "answers", example),
        ("file-classifications", "classifications", example),
    ):
        content = json.dumps(line).encode() + b"\n"
        file = {"id": id, "object": "file", "bytes": len(content), "created_at": 1}
        seed_file(store, content, {**file, "filename": "a.jsonl", "purpose": purpose, "status": "processed"})
    batch = {"id": "batch-real", "object": "batch", "endpoint": "/v1/completions", "created_at": 1}
    batch |= {"input_file_id": "file-batch", "completion_window": "24h", "status": "in_progress"}
    batch |= {"model": "of another server", "expires_at": None}  # nobody here works on it
    batch |= {"request_counts": {"total": 1, "completed": 0, "failed": 0}, "metadata": None}
    store.delete("batch", "batch-real")
    store.put("batch", "batch-real", batch)


def name_real_objects(case: Any, path: str) -> None:
    """Put ids that exist where the case has ids, and keep apart what can only be sent together."""
    real = REAL | {"file": f"file-{path.rsplit('/')[-1]}"}
    for fields in (case.path_parameters, case.body, case.query):
        if isinstance(fields, dict):
            fields.update({name: real[name] for name in fields if name in real and fields[name] is not None})
    if isinstance(case.body, dict) and path in GENERATING:
        for name in ("max_tokens", "max_completion_tokens"):  # a few tokens: the context is short
            if case.body.get(name) is not None:
                case.body[name] = min(case.body[name], 3)
        case.body.pop("min_tokens", None)
        if not case.body.get("stream"):
            case.body.pop("stream_options", None)
        if case.body.get("dimensions") is not None:
            case.body["dimensions"] = min(case.body["dimensions"], 8)
        for name in ("prompt", "input"):
            if name in case.body:
                case.body[name] = real_tokens(case.body[name])
        if case.body.get("documents"):
            case.body.pop("file", None)
        elif path.endswith("/search"):
            case.body |= {"documents": None, "file": real["file"]}


def real_tokens(value: Any) -> Any:
    """Token ids of the vocabulary in place of any numbers."""
    if isinstance(value, list):
        return [real_tokens(one) for one in value]
    return abs(value) % 256 if isinstance(value, int) else value


def whole(value: Any) -> Any:
    """JSON Schema takes 5.0 for an integer; we write it as every client does."""
    if isinstance(value, dict):
        return {name: whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_description_holds(
    running: Running, store: Store, reached: list[Sequence[Request]], method: str, path: str
) -> None:
    operation = schemathesis.openapi.from_dict(DESCRIBED)[path][method]
    sent = 0

    @seed(1)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(), real=st.integers(0, 9))
    def check(case: Any, real: int) -> None:
        nonlocal sent
        case.body = whole(case.body)
        if real < 9:
            name_real_objects(case, path)
        if "{" in path or method != "GET":
            provide(store)
        answer = case.call(base_url=running.url, timeout=30)
        sent += 1
        case.validate_response(answer, checks=CHECKS)

    check()
    assert sent >= EXAMPLES or not operation.body
    if method == "POST" and path in GENERATING:
        assert len(reached) >= 0.3 * sent, f"{len(reached)} of {sent} reached the engine"


def test_every_route_is_described(http: httpx.Client) -> None:
    paths = {(method, path) for method, path in OPERATIONS}
    assert {("POST", path) for path in GENERATING} <= paths
    assert http.get("/openapi.json").json() == DESCRIBED
