"""Keys, usage, batches and files in the store, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bottega.server.store import Store, open_state
from bottega.server.store import batches as kept
from bottega.server.store.batches import claim, release
from bottega.server.store.contents import delete_file, describe, draft, keep, seed_file, sweep
from bottega.server.store.keys import Used, add_usage, any_key, create_key, find_key, list_keys, revoke_key


def a_batch(store: Store, id: str = "batch_a", status: str = "in_progress", owner: str = "") -> None:
    store.put("batch", id, {"id": id, "status": status, "metadata": {"guild": "Saint Luke"}}, owner)


def an_answer(status: int | None) -> dict:
    return {"response": None if status is None else {"status_code": status}}


def test_keys_are_found_and_revoked(store: Store):
    assert not any_key(store)
    id, key = create_key(store, "bardi", 60, None)
    known = find_key(store, key)
    assert known is not None
    assert (known.id, known.requests_per_minute, known.tokens_per_minute) == (id, 60, None)
    for wrong in (key + "x", key[:-1], key.replace(id, "0" * 12), "sk-bottega-\x00-x", "sk-bottega-é-x", ""):
        assert find_key(store, wrong) is None
    revoke_key(store, id)
    assert find_key(store, key) is None
    assert any_key(store)


def test_usage_adds_up_from_many_threads(store: Store):
    ids = [create_key(store, name)[0] for name in ("bardi", "peruzzi")]
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda i: add_usage(store, {id: Used(1, i, 2) for id in ids[:: 1 - 2 * (i % 2)]}), range(40)
            )
        )
    assert {one.used for one in list_keys(store)} == {Used(40, 780, 80)}


def test_one_server_has_a_batch_until_it_is_silent(store: Store, monkeypatch: pytest.MonkeyPatch):
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda i: claim(store, "batch_a", f"server{i}"), range(8)))
    assert taken.count(True) == 1
    mine, other = f"server{taken.index(True)}", f"server{taken.index(False)}"
    assert claim(store, "batch_a", mine)
    release(store, "batch_a", other)  # which has no say
    assert not claim(store, "batch_a", other)
    later = time.time() + kept.CLAIM_SECONDS + 1
    with monkeypatch.context() as patch:
        patch.setattr("bottega.server.store.batches.time.time", lambda: later)
        assert claim(store, "batch_a", other)
    release(store, "batch_a", other)
    assert claim(store, "batch_a", mine)


def test_unfinished_batches_of_all_owners_are_found(store: Store):
    for i, status in enumerate((*kept.UNFINISHED, "completed", "failed", "expired", "cancelled")):
        a_batch(store, f"batch_{i}", status, f"owner{i % 2}")
    found = kept.unfinished(store)
    assert [(owner, body["id"]) for owner, body in found] == [
        (f"owner{i % 2}", f"batch_{i}") for i in range(4)
    ]


def test_a_status_changes_only_from_where_it_was(store: Store):
    a_batch(store)
    assert kept.change(store, "batch_a", "", ("validating",), {"status": "failed"}) is None
    assert kept.change(store, "batch_a", "other", ("in_progress",), {"status": "failed"}) is None
    changed = kept.change(store, "batch_a", "", ("in_progress",), {"status": "cancelling"})
    assert changed == store.get("batch", "batch_a")
    assert changed is not None and (changed["status"], changed["metadata"]) == (
        "cancelling",
        {"guild": "Saint Luke"},
    )


def test_the_first_answer_to_a_line_stays(store: Store):
    for line, status in ((3, 200), (1, 200), (2, 400), (4, None), (3, 500)):
        kept.record(store, "batch_a", line, an_answer(status))
    kept.record(store, "batch_b", 1, an_answer(200))
    assert kept.answered(store, "batch_a") == {1, 2, 3, 4}
    assert kept.count(store, "batch_a") == (2, 2)
    assert list(kept.answers(store, "batch_a", failed=False)) == [an_answer(200)] * 2
    assert list(kept.answers(store, "batch_a", failed=True)) == [an_answer(400), an_answer(None)]


def test_a_batch_ends_once_and_with_all_its_files(store: Store):
    a_batch(store, owner="bardi")
    kept.record(store, "batch_a", 1, an_answer(200))
    claim(store, "batch_a", "server")
    fields = {"status": "completed"}

    def finish(_: int) -> bool:
        files = [describe("out.jsonl", "batch_output", 1)]
        return kept.end(store, "batch_a", "bardi", ("in_progress",), fields, files)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(finish, range(4))).count(True) == 1
    assert len(store.list("file", "bardi")[0]) == 1
    assert kept.answered(store, "batch_a") == set()
    assert claim(store, "batch_a", "other")


def test_contents_are_whole_or_not_there(store: Store):
    with pytest.raises(ZeroDivisionError), draft(store) as file:
        file.write(b"half")
        raise ZeroDivisionError
    with draft(store) as file:
        file.write(b"whole")
        keep(store, file, "file-a")
    assert [path.name for path in store.files.iterdir()] == ["file-a"]
    assert (store.files / "file-a").read_bytes() == b"whole"


def test_a_seeded_file_replaces_the_one_before(store: Store):
    body = describe("x.jsonl", "batch", 3) | {"id": "file_id"}
    for content in (b"one", b"two"):
        seed_file(store, content, body)
        assert (store.files / "file_id").read_bytes() == content
    assert len(store.list("file")[0]) == 1
    assert not delete_file(store, "file_id", "bardi")
    assert delete_file(store, "file_id", "")
    assert not (store.files / "file_id").exists()


def test_sweeping_spares_what_is_young_or_owned(store: Store):
    seed_file(store, b"x", describe("x", "batch", 1) | {"id": "kept"})
    seed_file(store, b"x", describe("x", "batch", 1) | {"id": "dead", "expires_at": 1})
    old, part, young = f"file-{'0' * 32}", f".{'1' * 32}.part", f"file-{'2' * 32}"
    for name in (old, part, young, "not ours"):
        (store.files / name).write_bytes(b"x")
    for name in (old, part, "kept", "dead", "not ours"):
        os.utime(store.files / name, (0, 0))
    assert store.get("file", "dead") is None
    assert sweep(store) == 2
    assert {path.name for path in store.files.iterdir()} == {"kept", "dead", young, "not ours"}


def test_the_state_is_where_the_environment_says(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BOTTEGA_STATE", str(tmp_path / "a"))
    opened = open_state()
    assert opened.files == tmp_path / "a" / "files"
    opened.close()
    opened = open_state(str(tmp_path / "b"), str(tmp_path / "c"))
    assert (opened.files, (tmp_path / "b" / "state.db").exists()) == (tmp_path / "c", True)
    opened.close()
