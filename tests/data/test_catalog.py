"""The catalog: files are found, checked, and downloaded so that a broken download never looks whole."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bottega.data import catalog
from bottega.data.catalog_table import DATASETS, File
from bottega.data.documents import read_documents
from bottega.errors import InputError, WorkError

BODY = bytes(range(256)) * 4000


class _Server(http.server.ThreadingHTTPServer):
    """Serves BODY; may break off after some bytes, and may not know ranges."""

    breaks_after = len(BODY)
    knows_ranges = True
    body = BODY
    asked: list[str | None]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.knows_ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.server.body) - start))
        self.end_headers()
        self.wfile.write(self.server.body[start : start + self.server.breaks_after])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def entry(server: _Server) -> File:
    return File(
        "deep/body.bin",
        len(BODY),
        hashlib.sha256(BODY).hexdigest(),
        f"http://127.0.0.1:{server.server_port}/b",
    )


def test_the_table_is_sound() -> None:
    names = [dataset.name for dataset in DATASETS]
    files = [file for dataset in DATASETS for file in dataset.files]
    assert len(set(names)) == len(names) and len({file.path for file in files}) == len(files)
    for file in files:
        assert len(file.sha256) == 64 and int(file.sha256, 16) and file.size > 0
        assert not Path(file.path).is_absolute() and ".." not in file.path
        assert file.url is None or file.url.startswith("https://")


def test_every_shared_file_is_the_one_that_the_table_names(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOTTEGA_DATA", str(shared_data))
    for dataset in DATASETS:
        assert catalog.present(dataset)
        assert len(catalog.locate(dataset.name)) == len(dataset.files)
    assert sum(1 for _ in read_documents(["gutenberg"])) == 415


def test_a_missing_file_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTTEGA_DATA", str(tmp_path))
    with pytest.raises(InputError) as caught:
        next(read_documents(["gutenberg"]))
    for part in ("34,843,068 bytes", "SHA-256 e364dfbd", str(tmp_path / "text/gutenberg.jsonl.xz")):
        assert part in str(caught.value)
    with pytest.raises(InputError, match="run `bottega data get shakespeare`, or put the file at"):
        catalog.locate("shakespeare")
    with pytest.raises(InputError, match="no public address"):
        catalog.get("gutenberg")
    with pytest.raises(InputError, match="no data set 'bible' in the catalog; it has boolq, cb,"):
        catalog.find("bible")


def test_a_file_with_other_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTTEGA_DATA", str(tmp_path))
    path = tmp_path / "text" / "shakespeare.txt"
    path.parent.mkdir()
    path.write_bytes(b"short")
    with pytest.raises(InputError, match="5 bytes, but the catalog says 1,115,394"):
        catalog.locate("shakespeare")
    path.write_bytes(bytes(1_115_394))
    with pytest.raises(InputError, match=r"SHA-256 \w{64}, but the catalog says 86c4e6aa"):
        catalog.locate("shakespeare")


def test_the_folder_is_named_or_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTTEGA_DATA", "~/sets")
    assert catalog.data_folder() == Path.home() / "sets"
    monkeypatch.delenv("BOTTEGA_DATA")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert catalog.data_folder() == tmp_path / "bottega" / "data"


def test_download_writes_the_whole_file_and_reports(tmp_path: Path, server: _Server) -> None:
    path = tmp_path / "deep" / "body.bin"
    calls: list[tuple[int, int]] = []
    catalog.download(entry(server), path, lambda done, total: calls.append((done, total)))
    assert path.read_bytes() == BODY
    assert calls[-1] == (len(BODY), len(BODY)) and calls == sorted(calls)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_broken_download_goes_on(tmp_path: Path, server: _Server, knows_ranges: bool) -> None:
    path = tmp_path / "body.bin"
    server.breaks_after = 300_000
    with pytest.raises(WorkError, match="goes on"):
        catalog.download(entry(server), path)
    assert not path.exists()
    server.breaks_after = len(BODY)
    server.knows_ranges = knows_ranges
    catalog.download(entry(server), path)
    assert path.read_bytes() == BODY
    assert server.asked == [None, "bytes=300000-"]


def test_a_download_of_other_bytes_leaves_nothing(tmp_path: Path, server: _Server) -> None:
    path = tmp_path / "body.bin"
    for body in (BODY[::-1], BODY + BODY):
        server.body, server.breaks_after = body, len(body)
        with pytest.raises(WorkError, match="not the file that the catalog names"):
            catalog.download(entry(server), path)
        assert not list(tmp_path.iterdir())


def test_no_network_is_one_line(tmp_path: Path) -> None:
    nowhere = File("f", 3, "0" * 64, "http://127.0.0.1:9/f")  # the discard port: nobody answers
    with pytest.raises(WorkError) as caught:
        catalog.download(nowhere, tmp_path / "f")
    assert "refused" in str(caught.value) and str(tmp_path / "f") in str(caught.value)
    assert "\n" not in str(caught.value)
