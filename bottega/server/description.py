"""The OpenAPI document: what every route may answer, those who stand before the routes included."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from bottega.server.schema import ErrorAnswer

_ALWAYS = {
    "401": "The API key is missing or unknown.",
    "403": "The host, the page or the key may not do this.",
    "429": "Too many requests, for the key or for the engine; Retry-After says when to come back.",
    "431": "The request line and headers are too large.",
    "500": "The server failed.",
    "503": "The server is shutting down or a model is not loaded; Retry-After says when to come back.",
}
_WITH_FIELDS = {"400": "A field or the body is wrong.", "404": "There is no such object."}
_WITH_BODY = {
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The body is compressed, or of a wrong content type.",
}
_HEADERS = {
    "X-Request-Id": {"schema": {"type": "string"}, "description": "The client's own id, or a new one."},
    "OpenAI-Processing-Ms": {"schema": {"type": "string", "pattern": r"^\d+$"}},
    "OpenAI-Version": {"schema": {"type": "string"}},
}
# A stream is described by one of its events.
_EVENT = {
    "type": "object",
    "properties": {"data": {"type": "string", "description": "The JSON of a chunk, or [DONE]."}},
    "required": ["data"],
}
_SUPERVISED = frozenset({"/health", "/ready", "/metrics"})


def describe(app: FastAPI) -> None:
    """Make /openapi.json say all of it."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    parts = document.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    if "ErrorAnswer" not in schemas:
        answer = ErrorAnswer.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= {**answer.pop("$defs"), "ErrorAnswer": answer}
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own envelope, which nobody sees
        schemas.pop(unused, None)
    parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}, {}]  # none is needed where the server has no keys
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if isinstance(operation, dict):
                _complete(operation, path, schemas)
    return document


def _complete(operation: dict[str, Any], path: str, schemas: dict[str, Any]) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    more = dict(_ALWAYS)
    if path not in _SUPERVISED and (operation.get("parameters") or operation.get("requestBody")):
        more |= _WITH_FIELDS
    if operation.get("requestBody"):
        more |= _WITH_BODY
    envelope = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
    for status, text in more.items():
        answers.setdefault(status, {"description": text, "content": envelope})
    if _streams(operation, schemas):
        answers["200"]["content"]["text/event-stream"] = {"schema": _EVENT}
    for answer in answers.values():
        answer["headers"] = {**_HEADERS, **answer.get("headers", {})}


def _streams(operation: dict[str, Any], schemas: dict[str, Any]) -> bool:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rsplit("/")[-1]
    return "stream" in schemas.get(name, {}).get("properties", {})
