"""/v1/files: what is kept, what is refused, and that nothing is lost or reached by a wrong name."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from bottega.server.store import Store
from bottega.server.store.contents import sweep
from bottega.server.store.keys import create_key

LINE = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"model": "bardi"}}
GOOD = {
    "batch": LINE,
    "fine-tune": {"prompt": "The master", "completion": " paints."},
    "search": {"text": "gesso", "metadata": {"page": 3}},
    "answers": {"text": "gesso\nglue"},
    "classifications": {"text": "azure", "label": "blue"},
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "state")
    yield opened
    opened.close()


@pytest.fixture
def url(store: Store, start_server) -> str:
    return start_server(store=store)


@pytest.fixture
def files(url: str) -> openai.resources.Files:
    return openai.OpenAI(base_url=url + "/v1", api_key="unused", max_retries=0, timeout=20).files


def lines(*rows: Any) -> bytes:
    return b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows)


def on_disk(store: Store) -> list[str]:
    return sorted(path.name for path in store.files.iterdir())


def test_a_file_is_kept_described_and_given_back(files: openai.resources.Files, store: Store):
    content = bytes(range(256)) * 5000
    made = files.create(file=("cartoon.bin", content), purpose="user_data")
    assert (made.filename, made.bytes, made.purpose, made.status) == (
        "cartoon.bin",
        len(content),
        "user_data",
        "processed",
    )
    assert abs(made.created_at - time.time()) < 20
    assert files.retrieve(made.id) == made
    answer = files.content(made.id)
    assert answer.read() == content
    assert answer.response.headers["x-content-type-options"] == "nosniff"
    assert "attachment" in answer.response.headers["content-disposition"]
    assert on_disk(store) == [made.id]
    assert files.delete(made.id).deleted
    assert on_disk(store) == []
    for gone in (files.retrieve, files.delete, files.content):
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            gone(made.id)


def test_a_file_that_is_deleted_in_between_is_missing(files: openai.resources.Files, store: Store):
    """Its row was found, and then its content is gone."""
    made = files.create(file=("cartoon.bin", b"x"), purpose="user_data")
    (store.files / made.id).unlink()
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        files.content(made.id)


def test_a_file_that_is_deleted_while_it_is_sent_is_sent_to_its_end(
    url: str, files: openai.resources.Files, store: Store
):
    content = bytes(range(256)) * 2**16  # more than the buffers on the way hold
    made = files.create(file=("ü.bin", content), purpose="user_data")
    with httpx.stream("GET", f"{url}/v1/files/{made.id}/content") as answer:
        assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''%C3%BC.bin"
        pieces = answer.iter_raw()
        got = next(pieces)
        assert files.delete(made.id).deleted
        assert on_disk(store) == []
        assert got + b"".join(pieces) == content


def test_pages_of_files(files: openai.resources.Files):
    made = [files.create(file=(f"{i}.txt", b"x"), purpose="evals").id for i in range(5)]
    other = files.create(file=("x.txt", b"x"), purpose="vision").id
    assert [file.id for file in files.list(purpose="evals", limit=2)] == made[::-1]
    page = files.list(limit=2, order="asc", after=made[2])
    assert ([file.id for file in page.data], page.has_more) == (made[3:], True)
    assert [file.id for file in files.list(purpose="vision")] == [other]
    assert files.list(purpose="nothing\x00").data == []
    for wrong in ({"limit": 0}, {"limit": 10_001}, {"after": "nothing"}, {"order": "up"}):
        with pytest.raises(openai.BadRequestError):
            files.list(**wrong)


@pytest.mark.parametrize("purpose", GOOD)
def test_files_of_lines_are_read_line_by_line(files: openai.resources.Files, store: Store, purpose: str):
    good = GOOD[purpose]
    assert files.create(file=("x.jsonl", lines(good)), purpose=purpose).bytes == len(lines(good))
    kept = on_disk(store)
    first = next(iter(set(good) - {"metadata"}))
    unfit: list[Any] = [
        b"{\n",
        b"[]\n",
        b'"text"\n',
        b"\xff\n",
        b"NaN\n",
        b"[" * 10**5 + b"\n",
        json.dumps(good | {"metadata": 1}).replace("1}", "1e999}").encode() + b"\n",
        json.dumps(good | {"metadata": 1}).replace("1}", "[" * 70 + "]" * 70 + "}").encode() + b"\n",
        {},
        {first: 3},
    ]
    for row in unfit:
        with pytest.raises(openai.BadRequestError, match="Line 3 of the file") as refused:
            files.create(file=("x.jsonl", lines(good, b"\n", row)), purpose=purpose)
        assert refused.value.code == "invalid_file_format"
    for empty in (b"\n \n", b""):
        with pytest.raises(openai.BadRequestError):
            files.create(file=("x.jsonl", empty), purpose=purpose)
    assert on_disk(store) == kept  # of a refused file nothing is left


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"custom_id": ""}, "custom_id"),
        ({"method": "GET"}, "method"),
        ({"url": "http://127.0.0.1/v1/completions"}, "url"),
        ({"body": []}, "body"),
        ({"body": {"stream": True}}, "stream"),
        ({"extra": 1}, "unknown field 'extra'"),
    ],
)
def test_lines_of_a_batch_are_requests(files: openai.resources.Files, change: dict[str, Any], said: str):
    with pytest.raises(openai.BadRequestError, match=f"Line 2 of the file: .*{said}"):
        files.create(file=("x.jsonl", lines(LINE, LINE | {"custom_id": "b"} | change)), purpose="batch")


def test_a_custom_id_is_used_once(files: openai.resources.Files):
    with pytest.raises(
        openai.BadRequestError, match="Line 2 of the file: the custom_id 'a' was already used"
    ):
        files.create(file=("x.jsonl", lines(LINE, LINE)), purpose="batch")


def test_the_name_of_a_file_is_no_path(files: openai.resources.Files, store: Store):
    for name in ("../../escaped", "/etc/passwd", "a/../../b", ".", "nul\x01\n.txt", "🎨" * 300, 'q"\r\n.txt'):
        made = files.create(file=(name, b"x"), purpose="user_data")
        assert len(made.filename) <= 255 and made.filename.isprintable()
        assert (store.files / made.id).read_bytes() == b"x"
        assert files.content(made.id).read() == b"x"
    assert len(on_disk(store)) == 7
    assert {path.name for path in store.files.parent.iterdir()} <= {
        "files",
        "state.db",
        "state.db-wal",
        "state.db-shm",
    }


@pytest.mark.parametrize(
    "id", ["..%2F..%2Fstate.db", "..%2Fstate.db", "%2e%2e", "%00", "file-%0a", "%F0%9F%8E%A8"]
)
def test_an_id_is_no_path(url: str, id: str):
    for path in (f"/v1/files/{id}", f"/v1/files/{id}/content"):
        assert httpx.get(url + path).status_code == 404
    assert httpx.delete(f"{url}/v1/files/{id}").status_code == 404


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"purpose": "vision"}, "Missing required parameter: 'file'"),
        ({"file": b"x"}, "Missing required parameter: 'purpose'"),
        ({"file": b"x", "purpose": "batch_output"}, "'purpose' must be one of"),
        ({"file": b"x", "purpose": b"vision"}, "cannot be read"),
        ({"file": "x", "purpose": "vision"}, "'file' must be a file"),
        ({"file": b"x", "purpose": "vision", "colour": "red"}, "Unknown parameter: 'colour'"),
        ({"file": b"x", "purpose": "vision", "expires_after[seconds]": "9" * 5000}, "expires_after"),
        (
            {
                "file": b"x",
                "purpose": "vision",
                "expires_after[anchor]": "created_at",
                "expires_after[seconds]": "60",
            },
            "3600 to 2592000",
        ),
    ],
)
def test_a_wrong_form_is_refused(url: str, fields: dict[str, str | bytes], said: str):
    form = [(name, ("x" if isinstance(value, bytes) else None, value)) for name, value in fields.items()]
    answer = httpx.post(url + "/v1/files", files=form)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_a_field_is_given_once(url: str):
    twice = [("file", ("x", b"x")), ("purpose", (None, "vision")), ("purpose", (None, "batch"))]
    answer = httpx.post(url + "/v1/files", files=twice)
    assert answer.status_code == 400 and "more than once" in answer.json()["error"]["message"]


def test_what_is_no_form_is_refused(url: str):
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = httpx.post(url + "/v1/files", content=b"nothing", headers={"Content-Type": kind})
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "invalid_form"
    assert httpx.post(url + "/v1/files", json={}).status_code == 415


def test_a_file_above_the_limit_is_refused_while_it_arrives(start_server, store: Store):
    url = start_server(store=store, max_file_bytes=100_000)
    exact = httpx.post(
        url + "/v1/files", files={"file": b"x" * 100_000}, data={"purpose": "user_data"}, timeout=20
    )
    assert exact.json()["bytes"] == 100_000
    over = httpx.post(
        url + "/v1/files", files={"file": b"x" * 100_001}, data={"purpose": "user_data"}, timeout=20
    )
    assert over.status_code == 413
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        sent = 0
        try:
            while sent < 50_000_000:
                connection.sendall(b"%x\r\n%s\r\n" % (65536, b"y" * 65536))
                sent += 65536
                connection.setblocking(False)
                try:
                    answer = connection.recv(4096)
                except BlockingIOError:
                    continue
                finally:
                    connection.settimeout(20)
                break
        except OSError:
            answer = b""
    assert b" 413 " in answer[:20]
    assert len(on_disk(store)) == 1


def test_an_expired_file_is_gone(
    files: openai.resources.Files, store: Store, monkeypatch: pytest.MonkeyPatch
):
    after = {"anchor": "created_at", "seconds": 3600}
    made = files.create(file=("x", b"x"), purpose="vision", expires_after=after)
    kept = files.create(file=("y", b"y"), purpose="vision")
    assert made.expires_at == made.created_at + 3600
    later = time.time() + 3601
    monkeypatch.setattr("bottega.server.store.store.time.time", lambda: later)
    with pytest.raises(openai.NotFoundError):
        files.retrieve(made.id)
    assert [file.id for file in files.list()] == [kept.id]
    os.utime(store.files / made.id, (0, 0))
    (store.files / ".left.part").write_bytes(b"x")
    assert sweep(store) == 1  # what is young may be an upload under way
    assert on_disk(store) == [".left.part", kept.id]


def test_a_file_is_invisible_to_other_keys(url: str, store: Store):
    bardi, peruzzi = (
        openai.OpenAI(base_url=url + "/v1", api_key=create_key(store, name)[1], max_retries=0).files
        for name in ("bardi", "peruzzi")
    )
    made = bardi.create(file=("x", b"x"), purpose="vision")
    assert peruzzi.list().data == []
    for touch in (peruzzi.retrieve, peruzzi.delete, peruzzi.content):
        with pytest.raises(openai.NotFoundError):
            touch(made.id)
    assert bardi.content(made.id).read() == b"x"


def test_a_kill_loses_no_file_that_was_acknowledged(start_process, tmp_path: Path):
    server, url = start_process()
    kept: dict[str, bytes] = {}
    for i in range(20):
        content = bytes([i]) * (1 + 10_000 * i)
        form = {"files": {"file": content}, "data": {"purpose": "user_data"}}
        kept[httpx.post(url + "/v1/files", **form, timeout=20).json()["id"]] = content
    server.kill()
    server.wait(20)
    store = Store(tmp_path / "state")
    assert {file["id"] for file in store.list("file", limit=100)[0]} == set(kept)
    for id, content in kept.items():
        assert (store.files / id).read_bytes() == content
    store.close()
