"""Every way into the corpus, and every way in which a source can be wrong."""

from __future__ import annotations

import gzip
import json
import lzma
import os
from pathlib import Path

import pyarrow
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bottega.data.documents import Document, read_documents
from bottega.data.files import CHUNK, cut, read_lines
from bottega.errors import InputError, WorkError

TALE = "Once there was a workshop in Florence.\n\nIts master was named Andrea – and he taught.\n"


def texts(source: str | Path, **options: object) -> list[str]:
    return [document.text for document in read_documents([source], **options)]  # type: ignore[arg-type]


def error_of(source: str | Path, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        texts(source, **options)
    message = str(caught.value)
    assert "\n" not in message and str(source) in message
    return message


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".xz", lzma.compress),
        (".zst", zstandard.ZstdCompressor().compress),
    ],
)
def test_the_same_text_comes_out_of_every_wrapping(tmp_path: Path, suffix: str, pack) -> None:
    text = tmp_path / f"tale.md{suffix}"
    text.write_bytes(pack(TALE.encode()))
    assert list(read_documents([text])) == [Document(TALE, str(text))]
    records = tmp_path / f"tales.jsonl{suffix}"
    lines = [json.dumps({"title": "a", "text": TALE}), "", json.dumps({"text": "Second."})]
    records.write_bytes(pack("\n".join(lines).encode()))
    assert list(read_documents([records])) == [
        Document(TALE, f"{records}, line 1"),
        Document("Second.", f"{records}, line 3"),
    ]


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.ZstdCompressor().compress)],
)
def test_a_compressed_file_that_was_cut_off_is_refused(tmp_path: Path, suffix: str, pack) -> None:
    whole = pack("\n".join(str(n * n) for n in range(20_000)).encode())
    for keep in (len(whole) // 2, len(whole) - 1, 3):
        path = tmp_path / f"cut.txt{suffix}"
        path.write_bytes(whole[:keep])
        assert "damaged or cut off" in error_of(path)
    path.write_bytes(b"not compressed at all, whatever its name says")
    assert "damaged or cut off" in error_of(path)


def test_zst_frames_one_after_the_other_are_all_read(tmp_path: Path) -> None:
    path = tmp_path / "two.txt.zst"
    path.write_bytes(zstandard.compress(b"first, ") + zstandard.compress(b"second"))
    assert texts(path) == ["first, second"]


def test_empty_file(tmp_path: Path) -> None:
    for name in ("empty.txt", "empty.jsonl", "blank.txt"):
        (tmp_path / name).write_text(" \n" if name == "blank.txt" else "")
    assert "empty; expected text" in error_of(tmp_path / "empty.txt")
    assert "empty" in error_of(tmp_path / "empty.jsonl")
    assert "holds no text" in error_of(tmp_path / "blank.txt")


def test_binary_file(tmp_path: Path) -> None:
    path = tmp_path / "picture.txt"
    path.write_bytes(b"\x89PNG" + bytes(20))
    assert "a binary file (NUL at byte 4)" in error_of(path)


def test_undecodable_bytes_are_named_by_their_offset(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9 noir")
    assert "byte 0xe9 at offset 3 is not UTF-8; convert it" in error_of(path)
    # The last byte of a chunk begins a two-byte character that the next chunk does not finish.
    path.write_bytes(b"a" * (CHUNK - 1) + b"\xc3" + b"(" * 100)
    assert f"byte 0xc3 at offset {CHUNK - 1:,}" in error_of(path)
    path.write_bytes(b"ends inside a character \xc3")
    assert "at offset 24" in error_of(path)
    path.write_bytes("wide".encode("utf-16"))
    assert "UTF-16" in error_of(path)


def test_folder_without_text(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(10))
    (tmp_path / ".hidden.txt").write_text("not read")
    assert "holds no text" in error_of(tmp_path)


def test_missing_source_names_what_there_is(tmp_path: Path) -> None:
    assert "no such file, folder or data set" in error_of(tmp_path / "absent.txt")
    assert "gutenberg" in error_of("gutenburg")
    with pytest.raises(InputError, match="no source given"):
        list(read_documents([]))


def test_folder_is_read_in_order_without_what_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("b.txt", "a.md", "sub/c.rst", ".git/config", "sub/.draft"):
        (tmp_path / name).write_text(name)
    (tmp_path / "d.png").write_bytes(bytes(9))
    (tmp_path / "broken").symlink_to("nowhere")
    if hasattr(os, "mkfifo"):  # opening one would wait for a writer forever
        os.mkfifo(tmp_path / "pipe")
    (tmp_path / "sub" / "latin.txt").write_bytes(b"\xff\xfe\xe9")
    reports: list[str] = []
    assert texts(tmp_path, report=reports.append) == ["a.md", "b.txt", "sub/c.rst"]
    assert len(reports) == 1 and "skipped 2 of its files" in reports[0] and "d.png" in reports[0]
    assert [d.text for d in read_documents([tmp_path / "b.txt", tmp_path / "a.md"])] == ["b.txt", "a.md"]


def test_a_text_that_goes_bad_further_on_is_never_cut_short_silently(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_bytes(b"word " * 500_000 + b"\0")
    with pytest.raises(InputError, match="binary"):
        texts(tmp_path)


def test_a_bad_record_in_a_folder_is_an_error_too(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "records.jsonl").write_text('{"text": "cut off\n')
    with pytest.raises(InputError, match=r"records\.jsonl, line 1: not JSON"):
        texts(tmp_path)


def test_a_long_text_file_becomes_pieces_that_join_to_it(tmp_path: Path) -> None:
    text = "".join(f"Paragraph {n} of the tale, é.\nIt goes on.\n\n" for n in range(40_000))
    path = tmp_path / "long.txt"
    path.write_text(text)
    pieces = list(read_documents([path]))
    assert len(pieces) > 20
    assert "".join(piece.text for piece in pieces) == text
    assert all(piece.text.endswith("\n\n") for piece in pieces)
    assert pieces[1].name == f"{path}, piece 2"


def test_a_byte_order_mark_is_no_text_and_line_ends_stay(tmp_path: Path) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert texts(path) == ["one\r\ntwo\r\n"]
    records = tmp_path / "windows.jsonl"
    records.write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n')
    assert texts(records) == ["one"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"text": "unfinished', "line 2: not JSON"),
        (b'["a list"]', "line 2: list, expected a JSON object"),
        (b'{"title": "x", "body": "y"}', "line 2: no field 'text' among title, body"),
        (b'{"text": 7}', "line 2: field 'text' holds int"),
        (b'{"text": "caf\xe9"}', "line 2: its byte 13 is not UTF-8"),
        (rb'{"text": "half \ud83d"}', "line 2: character 5 is half a surrogate pair"),
        (b"[" * 100_000, "line 2: not JSON"),
    ],
)
def test_a_bad_json_line_is_named(tmp_path: Path, line: bytes, expected: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"text": "good"}\n' + line + b"\n")
    assert expected in error_of(path)


def test_the_text_field_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_text('{"body": "hello"}\n')
    assert texts(path, text_field="body") == ["hello"]


def test_parquet_by_column(tmp_path: Path) -> None:
    path = tmp_path / "posts.parquet"
    pq.write_table(pyarrow.table({"text": ["a", "", "c"], "n": [1, 2, 3]}), path)
    assert [(d.text, d.name) for d in read_documents([path])] == [
        ("a", f"{path}, row 0"),
        ("c", f"{path}, row 2"),
    ]
    assert "no column 'body' among text, n" in error_of(path, text_field="body")
    assert "field 'n' holds int" in error_of(path, text_field="n")
    path.write_bytes(path.read_bytes()[:-20])
    assert "not a sound Parquet file" in error_of(path)


@given(st.text(), st.integers(1, 30), st.integers(1, 50))
def test_cut_pieces_join_to_the_text_whatever_its_chunks(text: str, size: int, chunk: int) -> None:
    pieces = list(cut([text[i : i + chunk] for i in range(0, len(text), chunk)], size))
    assert "".join(pieces) == text
    assert all(size < len(piece) <= 2 * size + 2 for piece in pieces[:-1])


def test_lines_longer_than_a_chunk_come_whole(tmp_path: Path) -> None:
    lines = [b"x" * (2 * CHUNK + 5), b"", b"y" * CHUNK, b"z"]
    path = tmp_path / "lines"
    path.write_bytes(b"\n".join(lines))
    assert list(read_lines(path)) == lines


def test_hub_address_and_absence_are_one_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "expected hf://datasets/OWNER/NAME" in error_of("hf://models/someone/something")
    import datasets
    import huggingface_hub.constants

    # Offline mode answers at once what no network answers after its retries.
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises((InputError, WorkError)) as caught:
        texts("hf://datasets/verrocchio/a-data-set-that-is-not-there")
    assert "\n" not in str(caught.value)
