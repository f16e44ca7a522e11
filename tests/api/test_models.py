"""GET /v1/models, GET and DELETE /v1/models/{id} over a real socket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import openai
import pytest

from bottega.server.store import Store
from bottega.server.store.keys import create_key

FINE_TUNED = "ft:bardi:workshop::abc123"


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["bardi", "owner/tiny"]
    one = client.models.retrieve("owner/tiny")
    assert (one.id, one.object, one.owned_by) == ("owner/tiny", "model", "bottega")
    assert one.created > 1_700_000_000


def test_a_fine_tuned_model_is_deleted(start_server: Callable[..., str]) -> None:
    client = openai.OpenAI(
        base_url=start_server(models=("bardi", FINE_TUNED)) + "/v1", api_key="unused", max_retries=0
    )
    assert client.completions.create(model=FINE_TUNED, prompt="x", max_tokens=1).choices
    deleted = client.models.delete(FINE_TUNED)
    assert (deleted.id, deleted.object, deleted.deleted) == (FINE_TUNED, "model", True)
    assert [model.id for model in client.models.list()] == ["bardi"]
    for again in (client.models.delete, client.models.retrieve):
        with pytest.raises(openai.NotFoundError):
            again(FINE_TUNED)
    # The engine that both shared still serves the other.
    assert client.completions.create(model="bardi", prompt="x", max_tokens=1).choices


def test_others_are_not(http: httpx.Client) -> None:
    for name, status, code in [("bardi", 403, "permission_denied"), ("nobody", 404, "model_not_found")]:
        answer = http.delete(f"/v1/models/{name}")
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["code"]) == (status, "model", code)
    assert http.get("/v1/models/bardi").status_code == 200


def test_a_key_owns_no_model(start_server: Callable[..., str], tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    _, key = create_key(store, "apprentice")
    url = f"{start_server(store=store, models=(FINE_TUNED,))}/v1/models/{FINE_TUNED}"
    assert httpx.delete(url).status_code == 401
    refused = httpx.delete(url, headers={"authorization": f"Bearer {key}"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    store.close()
