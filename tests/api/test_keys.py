"""API keys on a server of their own: who gets in, how often, and what is counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from bottega.errors import InputError
from bottega.server.guard.limits import Limits
from bottega.server.store import Store
from bottega.server.store.keys import Known, Used, create_key, find_key, list_keys, revoke_key

BODY = {"model": "bardi", "prompt": "The master", "max_tokens": 4, "ignore_eos": True}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "state")
    yield opened
    opened.close()


@pytest.fixture
def url(store: Store, start_server) -> str:
    return start_server(store=store)


def ask(url: str, key: str | None = None, path: str = "/v1/models", **headers: str) -> httpx.Response:
    given = {"Authorization": f"Bearer {key}"} if key is not None else {}
    return httpx.get(url + path, headers=given | headers)


def post(url: str, key: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(url + "/v1/completions", json=BODY, headers=headers, timeout=20)


def test_without_keys_this_machine_may_ask(url: str):
    assert ask(url).status_code == 200
    assert ask(url, "unused").status_code == 200


def test_a_key_made_elsewhere_closes_the_running_server_at_once(url: str, store: Store):
    other = Store(store.files.parent)  # as `bottega keys` opens it
    assert ask(url).status_code == 200
    _, key = create_key(other, "bardi")
    assert ask(url).status_code == 401
    assert ask(url, key).status_code == 200
    other.close()


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Basic {key}",
        "{key}",
        "Bearer {key}x",
        "Bearer sk-bottega-",
        "Bearer {id}",
        "Bearer sk-bottega-{id}-",
        "Bearer sk-bottega-%00-x",
        "Bearer sk-bottega-Übermut-x",
    ],
)
def test_a_wrong_key_is_refused_in_the_envelope(url: str, store: Store, header: str | None):
    id, key = create_key(store, "bardi")
    headers = [] if header is None else [(b"Authorization", header.format(key=key, id=id).encode())]
    answer = httpx.post(url + "/v1/completions", json=BODY, headers=headers)
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert key not in answer.text


def test_every_route_but_the_supervisors_and_the_pages_needs_a_key(url: str, store: Store):
    _, key = create_key(store, "bardi")
    document = ask(url, key, "/openapi.json").json()
    open_paths = {"/health", "/ready"}
    seen = 0
    for path, operations in document["paths"].items():
        for method in operations:
            answer = httpx.request(method, url + path, headers={"Content-Type": "application/json"})
            assert (answer.status_code == 401) == (path not in open_paths), (method, path)
            seen += 1
    assert seen > 5
    for path in ("/openapi.json", "/metrics", "/v1/nothing", "/v1//models", "/playgrounds"):
        assert ask(url, path=path).status_code == 401, path
    assert ask(url, path="/playground/").status_code == 200


def test_the_stock_client_sees_its_own_error(url: str, store: Store):
    create_key(store, "bardi")
    client = openai.OpenAI(base_url=url + "/v1", api_key="sk-bottega-x-y", max_retries=0)
    with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
        client.models.list()


def test_a_revoked_key_stops_at_once_and_the_last_one_opens_nothing(url: str, store: Store):
    id, key = create_key(store, "bardi")
    assert ask(url, key).status_code == 200
    revoke_key(store, id)
    assert ask(url, key).status_code == 401
    assert ask(url).status_code == 401


def test_a_server_may_demand_keys_before_there_are_any(start_server, store: Store):
    url = start_server(store=store, require_keys=True)
    assert ask(url).status_code == 401
    assert ask(url, path="/health").status_code == 200
    _, key = create_key(store, "bardi")
    assert ask(url, key).status_code == 200


def test_with_a_key_the_server_answers_by_any_name(url: str, store: Store):
    """As behind a reverse proxy: a page of another site has no key."""
    assert ask(url, Host="api.bardi.example").status_code == 403
    _, key = create_key(store, "bardi")
    assert ask(url, key, Host="api.bardi.example").status_code == 200


def test_requests_beyond_the_limit_wait(url: str, store: Store):
    _, key = create_key(store, "bardi", requests_per_minute=3)
    answers = [ask(url, key) for _ in range(5)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
    assert [a.headers["x-ratelimit-remaining-requests"] for a in answers] == ["2", "1", "0", "0", "0"]
    assert {a.headers["x-ratelimit-limit-requests"] for a in answers} == {"3"}
    assert "x-ratelimit-limit-tokens" not in answers[0].headers
    refused = answers[-1]
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert refused.headers["x-ratelimit-reset-requests"].endswith("s")
    _, other = create_key(store, "peruzzi")
    assert ask(url, other).status_code == 200


def test_tokens_beyond_the_limit_wait(url: str, store: Store):
    _, key = create_key(store, "bardi", tokens_per_minute=5)
    first = post(url, key)
    assert first.status_code == 200
    assert first.headers["x-ratelimit-limit-tokens"] == "5"
    assert first.json()["usage"]["total_tokens"] > 5
    assert post(url, key).status_code == 429


def test_what_a_key_uses_is_counted(url: str, store: Store):
    id, key = create_key(store, "bardi")
    idle, other = create_key(store, "peruzzi")
    usage = [post(url, key).json()["usage"] for _ in range(2)]
    stream = {**BODY, "stream": True, "max_tokens": 3}
    text = httpx.post(url + "/v1/completions", json=stream, headers={"Authorization": f"Bearer {key}"}).text
    assert text.endswith("data: [DONE]\n\n")
    ask(url, other)
    wanted = Used(
        3,
        sum(one["prompt_tokens"] for one in usage) + usage[0]["prompt_tokens"],
        sum(one["completion_tokens"] for one in usage) + 3,
    )
    until = time.monotonic() + 5
    while (used := {one.id: one.used for one in list_keys(store)})[id] != wanted and time.monotonic() < until:
        time.sleep(0.05)
    assert used == {id: wanted, idle: Used(1)}


def test_a_key_is_kept_as_a_hash(store: Store):
    id, key = create_key(store, "bardi", 60, 1000)
    store.close()
    kept = b"".join(path.read_bytes() for path in store.files.parent.glob("state.db*"))
    assert b"bardi" in kept
    assert key.encode() not in kept and key.removeprefix(f"sk-bottega-{id}-").encode() not in kept
    assert find_key(store, key) == Known(id, 60, 1000)


def test_wrong_ids_and_limits_are_told(store: Store):
    with pytest.raises(InputError, match="there is no key 'nobody'"):
        revoke_key(store, "nobody")
    with pytest.raises(InputError, match="from 1"):
        create_key(store, "bardi", requests_per_minute=0)


def test_a_bucket_fills_with_time(monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr("bottega.server.guard.limits.time.monotonic", lambda: now)
    limits, key = Limits(), Known("k", requests_per_minute=2, tokens_per_minute=600)
    assert limits.admit(key)[0] == 0
    limits.charge(key, Used(1, 1000, 200))  # 600 more than there are
    wait, headers = limits.admit(key)
    assert wait == pytest.approx(60.1)
    assert headers["x-ratelimit-reset-tokens"] == "2m0s"
    assert headers["x-ratelimit-reset-requests"] == "30s"
    now += 60.2
    assert limits.admit(key)[0] == 0
