"""The files of a batch: checking what is asked before it runs, writing what was answered at its end."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bottega.server.errors import ApiError
from bottega.server.files.jsonl import BATCH_ENDPOINTS, read_lines
from bottega.server.store.batches import answered, answers, count, end, record
from bottega.server.store.contents import describe, draft, keep
from bottega.server.store.store import Body, Store

_MOST_FAULTS = 100  # of a batch's input that are told


def check_input(path: Path, endpoint: str, models: Collection[str]) -> tuple[Body, int]:
    """Whether every line of a batch's input can be asked: the fields to set, and how many lines there are.

    The fields are the model, or the errors.
    """
    if endpoint not in BATCH_ENDPOINTS:
        served = ", ".join(BATCH_ENDPOINTS)
        message = f"This server has no {endpoint}; batches may go to {served}."
        return _faults([_fault("unsupported_endpoint", message, "endpoint", None)]), 0
    faults, asked, total = [], set(), 0
    try:
        with path.open("rb") as file:
            for number, line in read_lines(file):
                total += 1
                model = line["body"].get("model")
                if line["url"] != endpoint:
                    message = f"The url {line['url']!r} is not the batch's endpoint, {endpoint}."
                    faults.append(_fault("mismatched_url", message, "url", number))
                elif model not in models:
                    message = f"The model {model!r} does not exist."
                    faults.append(_fault("model_not_found", message, "body.model", number))
                else:
                    asked.add(model)
                if len(faults) == _MOST_FAULTS:
                    break
    except (OSError, ApiError) as error:
        faults.append(_fault("invalid_file", f"cannot read the input file: {error}", "input_file_id", None))
    if len(asked) > 1:
        message = f"A batch asks one model, not {', '.join(map(repr, sorted(asked)))}."
        faults.append(_fault("mismatched_model", message, "body.model", None))
    return (_faults(faults), 0) if faults else ({"model": asked.pop()}, total)


def _fault(code: str, message: str, param: str | None, line: int | None) -> Body:
    return {"code": code, "message": message, "param": param, "line": line}


def _faults(data: list[Body]) -> Body:
    return {"errors": {"object": "list", "data": data}}


def answer_line(custom_id: str, response: Body | None, error: Body | None = None) -> Body:
    """A line of an output file, as OpenAI writes it."""
    id = f"batch_req_{uuid.uuid4().hex}"
    return {"id": id, "custom_id": custom_id, "response": response, "error": error}


def expire_rest(store: Store, batch: Body, path: Path) -> bool:
    """Answer the lines that have no answer with the error that they came too late; whether any did."""
    id = batch["id"]
    done = answered(store, id)
    if len(done) < batch["request_counts"]["total"]:
        message = "This request could not be executed before the completion window expired."
        error = {"code": "batch_expired", "message": message}
        with path.open("rb") as file:
            for number, line in read_lines(file):
                if number not in done:
                    record(store, id, number, answer_line(line["custom_id"], None, error))
    # Not only of now: the server may have been killed since it said so of some.
    return any(answer["response"] is None for answer in answers(store, id, failed=True))


def fail_without_input(store: Store, batch: Body, owner: str, path: Path) -> bool:
    """End a batch as failed if its input is gone while lines wait for their answers; whether it was so.

    What was answered until then is kept.
    """
    if path.is_file() or len(answered(store, batch["id"])) == batch["request_counts"]["total"]:
        return False
    message = f"The input file {path.name} was deleted before all its requests were answered."
    faults = _faults([_fault("invalid_file", message, "input_file_id", None)])
    write_end(store, batch, owner, "failed", faults)
    return True


def write_end(store: Store, batch: Body, owner: str, status: str, faults: Body | None = None) -> None:
    """Write the answers into files and end the batch with a status, unless another server was faster.

    `faults` is the field that says why it failed.
    """
    id, counts = batch["id"], count(store, batch["id"])
    now = int(time.time())
    usage, files = _Usage(), []
    fields: dict[str, Any] = {"status": status, f"{status}_at": now} | (faults or {})
    fields["request_counts"] = {
        "total": batch["request_counts"]["total"],
        "completed": counts[0],
        "failed": counts[1],
    }
    after = (batch.get("output_expires_after") or {}).get("seconds")
    with ExitStack() as drafts:
        for failed, name in ((False, "output"), (True, "error")):
            if counts[failed]:
                file = drafts.enter_context(draft(store))
                file.writelines(usage.over(answers(store, id, failed)))
                body = describe(f"{id}_{name}.jsonl", "batch_output", file.tell(), after)
                keep(store, file, body["id"])
                files.append(body)
                fields[f"{name}_file_id"] = body["id"]
    fields["usage"] = usage.total()
    if not end(store, id, owner, (batch["status"],), fields, files):
        for body in files:
            (store.files / body["id"]).unlink(missing_ok=True)


class _Usage:
    """Adds up what the answers that pass through have cost."""

    def __init__(self) -> None:
        self._read = self._cached = self._written = 0

    def over(self, found: Iterator[Body]) -> Iterator[bytes]:
        for answer in found:
            used = ((answer["response"] or {}).get("body") or {}).get("usage") or {}
            self._read += used.get("prompt_tokens") or 0
            self._cached += (used.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            self._written += used.get("completion_tokens") or 0
            yield json.dumps(answer).encode() + b"\n"

    def total(self) -> Body:
        return {
            "input_tokens": self._read,
            "input_tokens_details": {"cached_tokens": self._cached},
            "output_tokens": self._written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self._read + self._written,
        }
