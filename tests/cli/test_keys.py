"""`bottega keys`, and what `bottega serve` makes of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bottega.cli import run
from bottega.server.store import Store
from bottega.server.store.keys import Used, add_usage, find_key


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state")


def create(state: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[str, str]:
    assert run(["keys", "create", "bardi", "--state", state, *more]) == 0
    said = capsys.readouterr().out
    found = re.match(r"(sk-bottega-([0-9a-f]{12})-[\w-]{43})\n", said)
    assert found, said
    return found[1], found[2]


def test_a_key_is_made_listed_and_revoked(state: str, capsys: pytest.CaptureFixture[str]):
    key, id = create(state, capsys, "--requests-per-minute", "60", "--tokens-per-minute", "9000")
    store = Store(state)
    add_usage(store, {id: Used(2, 30, 4000)})
    add_usage(store, {id: Used(1, 1, 1)})
    assert run(["keys", "list", "--state", state]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in (id, "bardi", "60 requests/min, 9,000 tokens/min", "3", "31", "4,001"):
        assert part in said
    assert key not in said and "revoked" not in said
    assert find_key(store, key) is not None
    assert run(["keys", "revoke", id, "--state", state]) == 0
    assert find_key(store, key) is None
    assert run(["keys", "list", "--state", state]) == 0
    assert "revoked 2" in " ".join(capsys.readouterr().out.split())
    store.close()


def test_without_keys_the_list_says_how_to_make_one(state: str, capsys: pytest.CaptureFixture[str]):
    assert run(["keys", "list", "--state", state]) == 0
    assert "bottega keys create NAME" in capsys.readouterr().out


def test_an_unknown_key_cannot_be_revoked(state: str, capsys: pytest.CaptureFixture[str]):
    assert run(["keys", "revoke", "nobody", "--state", state]) == 2
    assert "there is no key 'nobody'" in capsys.readouterr().err


def test_others_are_not_let_in_without_a_key(tmp_path: Path, state: str, capsys: pytest.CaptureFixture[str]):
    from bottega.server.run import check_reach
    from bottega.server.settings import ServerSettings

    asked = ["serve", str(tmp_path), "--host", "0.0.0.0", "--port", "0", "--state", state]
    assert run(asked) == 2
    assert "it has no keys; make one first: bottega keys create NAME" in capsys.readouterr().err
    store = Store(state)
    check_reach("0.0.0.0", store, ServerSettings(without_keys=True))
    check_reach("0.0.0.0", store, ServerSettings(require_keys=True))
    check_reach("127.0.0.1", store, ServerSettings())
    store.close()
    create(state, capsys)
    check_reach("0.0.0.0", Store(state), ServerSettings())
