"""What the lines of an uploaded JSONL file must be, by the file's purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO, Any

from bottega.server.errors import ApiError
from bottega.server.guard.json_bodies import JsonFault, read_json

Line = dict[str, Any]

BATCH_ENDPOINTS = ("/v1/completions", "/v1/chat/completions", "/v1/embeddings")
MAX_BATCH_LINES = 50_000
MAX_LINE_BYTES = 8 * 2**20  # as of a request's body


def check_lines(file: IO[bytes], purpose: str) -> None:
    """Read a file to its end; ApiError (400) with the number of the first line unfit for its purpose."""
    check = _CHECKS.get(purpose)
    if check is None:
        return
    names: set[str] = set()
    count = 0
    for number, line in read_lines(file):
        fault = check(line)
        if fault:
            raise _refusal(number, fault)
        if purpose == "batch":
            if line["custom_id"] in names:
                raise _refusal(number, f"the custom_id {line['custom_id']!r} was already used")
            names.add(line["custom_id"])
            if len(names) > MAX_BATCH_LINES:
                raise _refusal(number, f"a batch has at most {MAX_BATCH_LINES} requests")
        count = number
    if not count:
        raise ApiError("The file holds no lines.", "file", "invalid_file_format")


def read_lines(file: IO[bytes]) -> Iterator[tuple[int, Line]]:
    """The JSON objects of a file with their line numbers from 1; empty lines are passed over.

    Raises ApiError with the number of a line that is too long or no JSON object.
    """
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES:
            raise _refusal(number, f"it is longer than {MAX_LINE_BYTES} bytes")
        if raw.strip():
            yield number, _parse(number, raw)


def _parse(number: int, raw: bytes) -> Line:
    try:
        line = read_json(raw)
    except JsonFault as fault:
        raise _refusal(number, f"it {fault}") from None
    if not isinstance(line, dict):
        raise _refusal(number, "expected a JSON object")
    return line


def _refusal(number: int, fault: str) -> ApiError:
    return ApiError(f"Line {number} of the file: {fault}.", "file", "invalid_file_format")


def _check_batch(line: Line) -> str | None:
    custom_id, body = line.get("custom_id"), line.get("body")
    if not isinstance(custom_id, str) or not custom_id:
        return "'custom_id' must be a string that names the request"
    if line.get("method") != "POST":
        return "'method' must be 'POST'"
    if not isinstance(line.get("url"), str) or not line["url"].startswith("/v1/"):
        return f"'url' must be one of {', '.join(BATCH_ENDPOINTS)}"
    if not isinstance(body, dict):
        return "'body' must be a JSON object, the body of the request"
    if body.get("stream"):
        return "a batch's answers come whole: 'stream' is not possible"
    return _check_fields(line, {"custom_id", "method", "url", "body"})


def _check_fine_tune(line: Line) -> str | None:
    if "messages" in line:
        messages = line["messages"]
        whole = isinstance(messages, list) and messages and all(isinstance(one, dict) for one in messages)
        return None if whole else "'messages' must be a list of messages"
    return _check_texts(line, "prompt", "completion")


def _check_text(line: Line) -> str | None:
    return _check_texts(line, "text") or _check_fields(line, {"text", "metadata"})


def _check_labelled(line: Line) -> str | None:
    return _check_texts(line, "text", "label") or _check_fields(line, {"text", "label", "metadata"})


def _check_texts(line: Line, *names: str) -> str | None:
    for name in names:
        if not isinstance(line.get(name), str):
            return f"expected the field {name!r} with a string"
    return None


def _check_fields(line: Line, allowed: set[str]) -> str | None:
    unknown = sorted(set(line) - allowed)
    return f"unknown field {unknown[0]!r}" if unknown else None


_CHECKS: dict[str, Callable[[Line], str | None]] = {
    "batch": _check_batch,
    "fine-tune": _check_fine_tune,
    "answers": _check_text,
    "search": _check_text,
    "classifications": _check_labelled,
}
