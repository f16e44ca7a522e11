"""Errors in OpenAI's envelope: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from bottega.engine.request import EngineFailed, Overloaded
from bottega.errors import InputError, WorkError

ENGINE_FAILED = "engine_failed"  # the code of a 503 that may come again, and need not


class ApiError(Exception):
    """A refusal with its HTTP status, the field it is about, OpenAI's code for it and further headers."""

    def __init__(
        self,
        message: str,
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.code, self.status = message, param, code, status
        self.headers = dict(headers or {})


def envelope(message: str, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The body of an error."""
    kind = (
        "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
    )
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def respond(
    message: str,
    status: int,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An error as an answer, also for those who stand before the routes. 503 says when to come back."""
    later = {"Retry-After": "1"} if status == 503 else {}
    return JSONResponse(envelope(message, status, param, code), status, {**later, **(headers or {})})


# What pydantic calls a fault, and what OpenAI calls it.
_CODES = {"extra_forbidden": "unknown_parameter", "missing": "missing_required_parameter"}


def refusal(error: RequestValidationError) -> JSONResponse:
    """The first fault of a body that does not fit its schema."""
    first = error.errors()[0]
    kind, place = str(first["type"]), [str(part) for part in first["loc"][1:]]
    if kind == "json_invalid":
        return respond("The body is not valid JSON; expected one JSON object.", 400, None, "invalid_json")
    if not place:
        return respond("The body must be a JSON object, sent as application/json.", 400, None, "invalid_type")
    param = place[0]
    if kind == "extra_forbidden":
        message = f"Unknown parameter: {param!r}."
    elif kind == "missing":
        message = f"Missing required parameter: {param!r}."
    elif param in ("prompt", "input") and len(place) > 1 and kind.endswith("_type"):
        # A union: the faults of its four forms one by one would not help.
        message = (
            f"{param!r} must be a string, a list of strings, a list of token ids or a list of such lists."
        )
    else:
        message = f"Invalid value for {'.'.join(place)!r}: {first['msg']}."
    kind = "invalid_type" if kind.endswith("_type") else "invalid_value"
    return respond(message, 400, param, _CODES.get(str(first["type"]), kind))


def install(app: FastAPI) -> None:
    """Make every foreseen error of the application wear the envelope; `RequestLog` answers the others."""

    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> JSONResponse:
        return respond(error.message, error.status, error.param, error.code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return refusal(error)

    @app.exception_handler(InputError)
    async def wrong_input(_: Request, error: InputError) -> JSONResponse:
        return respond(str(error), 400, None, "invalid_value")

    @app.exception_handler(Overloaded)
    async def overloaded(_: Request, error: Overloaded) -> JSONResponse:
        later = {"Retry-After": str(math.ceil(error.retry_after))}
        return respond(str(error), 429, None, "rate_limit_exceeded", later)

    @app.exception_handler(EngineFailed)
    async def broke(_: Request, error: EngineFailed) -> JSONResponse:
        return respond(str(error), 503, None, ENGINE_FAILED)

    @app.exception_handler(WorkError)
    async def failed(_: Request, error: WorkError) -> JSONResponse:
        return respond(str(error), 503, None, "service_unavailable")

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        message, code = {
            404: (f"Invalid URL ({request.method} {request.url.path}).", "unknown_url"),
            405: (f"Not allowed: {request.method} on {request.url.path}.", "method_not_supported"),
        }.get(error.status_code, (str(error.detail), None))
        return respond(message, error.status_code, None, code, error.headers)
