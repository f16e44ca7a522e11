"""/v1/batches: really run, by the own routes, with every line answered once whatever happens."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import torch

from bottega.models.gpt import GPT
from bottega.server.store import Store
from bottega.server.store.contents import delete_file
from bottega.server.store.keys import Used, create_key, list_keys
from bottega.text.tokenizer import Tokenizer

ENDED = ("completed", "failed", "expired", "cancelled")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "state")
    yield opened
    opened.close()


@pytest.fixture
def client(store: Store, start_server) -> openai.OpenAI:
    return openai.OpenAI(base_url=start_server(store=store) + "/v1", api_key="x", max_retries=0, timeout=20)


def request(i: int, url: str = "/v1/completions", **body: Any) -> dict[str, Any]:
    body = {"model": "bardi", "prompt": f"The master {i}", "max_tokens": 3, "temperature": 0} | body
    return {"custom_id": f"line-{i}", "method": "POST", "url": url, "body": body}


def start(
    client: openai.OpenAI, requests: list[dict[str, Any]], endpoint: str = "/v1/completions", **more: Any
) -> openai.types.Batch:
    content = "".join(json.dumps(one) + "\n" for one in requests).encode()
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


def wait(client: openai.OpenAI, id: str, statuses: tuple[str, ...] = ENDED) -> openai.types.Batch:
    until = time.monotonic() + 60
    while (batch := client.batches.retrieve(id)).status not in statuses:
        assert time.monotonic() < until, batch
        time.sleep(0.05)
    return batch


def read(client: openai.OpenAI, file: str | None) -> list[dict[str, Any]]:
    return [] if file is None else [json.loads(line) for line in client.files.content(file).text.splitlines()]


def test_a_batch_answers_as_the_route_does(client: openai.OpenAI):
    asked = [request(i) for i in range(20)] + [request(20, logit_bias={"9999999": 1}), request(21, n=0)]
    batch = start(client, asked, metadata={"guild": "Saint Luke"})
    assert batch.status == "validating" and batch.metadata == {"guild": "Saint Luke"}
    assert batch.expires_at == batch.created_at + 86_400
    done = wait(client, batch.id)
    assert (done.status, done.model, done.errors) == ("completed", "bardi", None)
    assert done.request_counts.model_dump() == {"total": 22, "completed": 20, "failed": 2}
    assert done.created_at <= done.in_progress_at <= done.finalizing_at <= done.completed_at
    answers = read(client, done.output_file_id)
    assert [one["custom_id"] for one in answers] == [f"line-{i}" for i in range(20)]
    for i, one in enumerate(answers):
        response = one["response"]
        assert (response["status_code"], one["error"]) == (200, None) and response["request_id"]
        alone = client.completions.create(**asked[i]["body"])
        assert response["body"]["choices"] == json.loads(alone.model_dump_json())["choices"]
    errors = read(client, done.error_file_id)
    assert [(one["custom_id"], one["response"]["status_code"]) for one in errors] == [
        ("line-20", 400),
        ("line-21", 400),
    ]
    assert errors[0]["response"]["body"]["error"]["param"] == "logit_bias"
    used = [one["response"]["body"]["usage"] for one in answers]
    assert done.usage.input_tokens == sum(one["prompt_tokens"] for one in used)
    cached = sum(one["prompt_tokens_details"]["cached_tokens"] for one in used)
    assert done.usage.input_tokens_details.cached_tokens == cached
    assert done.usage.output_tokens == sum(one["completion_tokens"] for one in used)
    assert client.files.retrieve(done.output_file_id).purpose == "batch_output"


def test_embeddings_and_chats_run_in_batches(client: openai.OpenAI):
    said = [{"role": "user", "content": "Which pigment?"}]
    chat = request(0, "/v1/chat/completions", messages=said)
    del chat["body"]["prompt"]
    embed = {
        "custom_id": "e",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "bardi", "input": "a"},
    }
    for asked, kind in ((chat, "chat.completion"), (embed, "list")):
        done = wait(client, start(client, [asked], asked["url"]).id)
        assert done.status == "completed"
        (answer,) = read(client, done.output_file_id)
        assert answer["response"]["body"]["object"] == kind


@pytest.mark.parametrize(
    ("asked", "endpoint", "code", "line"),
    [
        ([request(0), request(1, model="nobody")], "/v1/completions", "model_not_found", 2),
        ([request(0), request(1, url="/v1/embeddings")], "/v1/completions", "mismatched_url", 2),
        ([request(0), request(1, model="other")], "/v1/completions", "mismatched_model", None),
        ([request(0, url="/v1/responses")], "/v1/responses", "unsupported_endpoint", None),
    ],
)
def test_a_batch_that_cannot_run_fails_with_the_reason(
    store: Store, start_server, asked: list[dict[str, Any]], endpoint: str, code: str, line: int | None
):
    url = start_server(store=store, models=("bardi", "other"))
    client = openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0)
    done = wait(client, start(client, asked, endpoint).id)
    assert (done.status, done.output_file_id) == ("failed", None)
    assert [(fault.code, fault.line) for fault in done.errors.data] == [(code, line)]


def test_a_batch_of_nothing_is_refused(client: openai.OpenAI):
    other = client.files.create(file=("x", b"x"), purpose="user_data").id
    good = {"endpoint": "/v1/completions", "completion_window": "24h"}
    for wrong in (
        {"input_file_id": "file-none"},
        {"input_file_id": other},
        {"input_file_id": other, "endpoint": "/v1/files"},
        {"input_file_id": other, "completion_window": "1h"},
        {"input_file_id": other, "extra_body": {"colour": "red"}},
        {"input_file_id": other, "output_expires_after": {"anchor": "created_at", "seconds": 1}},
    ):
        with pytest.raises(openai.BadRequestError):
            client.batches.create(**good | wrong)
    for touch in (client.batches.retrieve, client.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            touch("batch_none")


def test_batches_are_listed_by_pages(client: openai.OpenAI):
    made = [start(client, [request(0)]).id for _ in range(3)]
    page = client.batches.list(limit=2)
    assert ([one.id for one in page.data], page.has_more) == (made[:0:-1], True)
    assert [one.id for one in client.batches.list()] == made[::-1]
    for id in made:
        wait(client, id)


def test_a_cancelled_batch_keeps_what_was_answered(client: openai.OpenAI, running):
    batch = start(client, [request(i, max_tokens=400, ignore_eos=True) for i in range(60)])
    until = time.monotonic() + 60
    while client.batches.retrieve(batch.id).request_counts.completed < 1 and time.monotonic() < until:
        time.sleep(0.05)
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    done = wait(client, batch.id)
    assert done.status == "cancelled" and done.cancelled_at
    assert 1 <= done.request_counts.completed < 60
    assert len(read(client, done.output_file_id)) == done.request_counts.completed
    assert client.batches.cancel(batch.id).status == "cancelled"
    until = time.monotonic() + 5
    while running.load != (0, 0) and time.monotonic() < until:
        time.sleep(0.05)
    assert running.load == (0, 0)


def test_what_is_late_is_told_line_by_line(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bottega.server.routes.batches._WINDOW_SECONDS", 2)
    batch = start(client, [request(i, max_tokens=900, ignore_eos=True) for i in range(100)])
    done = wait(client, batch.id)
    assert done.status == "expired" and done.expired_at >= batch.created_at + 2
    late = read(client, done.error_file_id)
    assert late and {one["error"]["code"] for one in late} == {"batch_expired"}
    assert len(late) + len(read(client, done.output_file_id)) == 100
    with pytest.raises(openai.BadRequestError, match="expired cannot be cancelled"):
        client.batches.cancel(batch.id)


def test_a_batch_whose_input_is_deleted_fails_and_keeps_its_answers(start_process, tmp_path: Path):
    server, url = start_process()
    client = openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0, timeout=30)
    batch = start(client, [request(i, max_tokens=60, ignore_eos=True) for i in range(200)])
    until = time.monotonic() + 60
    while client.batches.retrieve(batch.id).request_counts.completed < 1:
        assert time.monotonic() < until
        time.sleep(0.02)
    server.terminate()  # one that runs holds its input open, and would come to its end
    server.wait(20)
    store = Store(tmp_path / "state")
    assert delete_file(store, batch.input_file_id, "")
    store.close()

    _, url = start_process()
    client = openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0, timeout=30)
    done = wait(client, batch.id)
    assert done.status == "failed" and done.failed_at
    (fault,) = done.errors.data
    assert (fault.code, fault.param) == ("invalid_file", "input_file_id")
    assert batch.input_file_id in fault.message
    assert 1 <= done.request_counts.completed == len(read(client, done.output_file_id)) < 200


def test_batches_are_invisible_to_other_keys_and_counted(start_server, store: Store):
    url = start_server(store=store) + "/v1"
    id, key = create_key(store, "bardi", requests_per_minute=1000)
    bardi = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
    peruzzi = openai.OpenAI(base_url=url, api_key=create_key(store, "peruzzi")[1], max_retries=0)
    batch = start(bardi, [request(i) for i in range(4)])
    for touch in (peruzzi.batches.retrieve, peruzzi.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            touch(batch.id)
    with pytest.raises(openai.BadRequestError):
        peruzzi.batches.create(
            input_file_id=batch.input_file_id, endpoint="/v1/completions", completion_window="24h"
        )
    assert peruzzi.batches.list().data == []
    done = wait(bardi, batch.id)
    with pytest.raises(openai.NotFoundError):
        peruzzi.files.content(done.output_file_id)
    assert len(read(bardi, done.output_file_id)) == 4
    until = time.monotonic() + 5
    while time.monotonic() < until:
        used = {one.id: one.used for one in list_keys(store)}[id]
        if used.completion_tokens == done.usage.output_tokens:
            break
        time.sleep(0.1)
    assert isinstance(used, Used) and used.completion_tokens == done.usage.output_tokens > 0


def test_a_killed_batch_goes_on_where_it_was(start_process):
    server, url = start_process()
    client = openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0, timeout=30)
    asked = [request(i, max_tokens=60, ignore_eos=True) for i in range(80)]
    batch = start(client, asked)
    until = time.monotonic() + 60
    while (before := client.batches.retrieve(batch.id)).request_counts.completed < 10:
        assert time.monotonic() < until
        time.sleep(0.02)
    server.kill()
    server.wait(20)
    assert before.status == "in_progress" and before.request_counts.completed < 80

    _, url = start_process()
    client = openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0, timeout=30)
    # What was done before is not done again.
    assert client.batches.retrieve(batch.id).request_counts.completed >= before.request_counts.completed
    done = wait(client, batch.id)
    assert done.status == "completed"
    assert (done.request_counts.completed, done.request_counts.failed) == (80, 0)
    answers = read(client, done.output_file_id)
    assert [one["custom_id"] for one in answers] == [one["custom_id"] for one in asked]
    assert client.files.content(batch.input_file_id).text.count("\n") == 80


def test_a_line_that_breaks_every_step_ends_as_an_error_and_takes_no_other_along(
    start_process, gpt: GPT, tokenizer: Tokenizer, tmp_path: Path
):
    model = copy.deepcopy(gpt)
    with torch.no_grad():
        model.pos_emb.weight[600:] = torch.nan  # whoever reads so far has no finite logits
    model.save_pretrained(tmp_path / "poisoned")
    tokenizer.save(tmp_path / "poisoned")
    _, url = start_process(tmp_path / "poisoned")
    client = openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0, timeout=30)
    asked = [request(i) for i in range(12)] + [request(12, prompt=[5] * 700), request(13)]
    done = wait(client, start(client, asked).id)
    assert done.status == "completed"
    assert (done.request_counts.completed, done.request_counts.failed) == (13, 1)
    (broken,) = read(client, done.error_file_id)
    assert (broken["custom_id"], broken["response"]["status_code"]) == ("line-12", 503)
    assert broken["response"]["body"]["error"]["code"] == "engine_failed"
