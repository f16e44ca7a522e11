"""Preparing and opening token shards: same bytes however made, resumed after a kill, damage found."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from bottega.data.documents import Document
from bottega.data.shards import Progress, TokenShards, prepare
from bottega.errors import InputError, Stopped, WorkError
from bottega.text.tokenizer import Tokenizer

SHARD = 20_000  # bytes of text: several shards out of a small corpus


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    words = ["the", "workshop", "takes", "an", "apprentice", "—", "“piano,", "piano”", "\n", "and", "learns"]
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 400, size=120)
    texts = [" ".join(rng.choice(words, size=n)) + f" {i}" for i, n in enumerate(lengths)]
    return [Document(text, f"record {i}") for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def tokenizer(documents: list[Document]) -> Tokenizer:
    return Tokenizer.train((document.text for document in documents), 320)


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def prepared(documents, tokenizer, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "corpus"
    prepare(documents, tokenizer, out, shard_bytes=SHARD)
    return out


@pytest.fixture
def corpus(prepared: Path, tmp_path: Path) -> Path:
    """A copy of the prepared folder, to be damaged."""
    out = tmp_path / "corpus"
    for name, content in contents(prepared).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    return out


def test_every_document_comes_back(prepared, documents, tokenizer):
    shards = TokenShards.open(prepared)
    assert len(list(prepared.glob("shard-*.bin"))) > 5
    assert shards.n_documents == len(documents)
    assert shards.n_bytes == sum(len(document.text.encode()) for document in documents)
    assert shards.vocab_size == tokenizer.vocab_size and shards.end_of_text == tokenizer.end_of_text
    ids = [tokenizer.encode(document.text) for document in documents]
    assert all(shards.document(i).tolist() == expected for i, expected in enumerate(ids))
    assert shards.lengths.tolist() == [len(expected) for expected in ids]
    assert shards.n_tokens == sum(map(len, ids))
    assert shards.text_bytes.tolist() == [len(document.text.encode()) for document in documents]
    assert shards.tokenizer().encode(documents[0].text) == ids[0]
    with pytest.raises(IndexError):
        shards.document(len(documents))


def test_files_are_the_documents_each_followed_by_end_of_text(prepared, documents, tokenizer):
    flat = np.concatenate([np.fromfile(path, "<u2") for path in sorted(prepared.glob("shard-*.bin"))])
    expected = [[*tokenizer.encode(document.text), tokenizer.end_of_text] for document in documents]
    assert flat.tolist() == list(itertools.chain(*expected))
    index = np.fromfile(prepared / "shard-00000.idx", "<i8").reshape(-1, 2)
    assert index[1].tolist() == [len(expected[0]), len(documents[0].text.encode())]


def test_spans_of_many_shards_are_read_in_the_order_asked(prepared):
    shards = TokenShards.open(prepared)
    picked = np.array([100, 3, 57, 3, 119, 0])
    expected = np.concatenate([shards.document(i) for i in picked])
    assert shards.read(shards.starts[picked], shards.lengths[picked]).tolist() == expected.tolist()
    assert len(shards.read(shards.starts[:0], shards.lengths[:0])) == 0


def test_any_number_of_workers_writes_the_same_bytes(documents, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "bottega.data.shards.BATCH_BYTES", 3000
    )  # so that the workers have something to share
    for workers in (1, 3):
        prepare(iter(documents), tokenizer, tmp_path / str(workers), workers=workers, shard_bytes=SHARD)
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def test_bytes_do_not_depend_on_the_size_of_a_batch(prepared, documents, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("bottega.data.shards.BATCH_BYTES", 500)
    prepare(documents, tokenizer, tmp_path / "out", shard_bytes=SHARD)
    small, large = contents(tmp_path / "out"), contents(prepared)
    assert {name: small[name] for name in small if name[:5] == "shard"} == {
        name: large[name] for name in large if name[:5] == "shard"
    }


def test_a_large_vocabulary_is_kept_in_32_bits(documents, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("bottega.data.shards.UINT16_IDS", 300)
    shards = prepare(documents[:3], tokenizer, tmp_path / "out")
    assert shards.document(1).dtype == np.uint32
    assert shards.document(1).tolist() == tokenizer.encode(documents[1].text)


def test_spelled_special_tokens_stay_text(tokenizer, tmp_path):
    shards = prepare([Document("a <|endoftext|> b", "spelled")], tokenizer, tmp_path / "out")
    assert tokenizer.end_of_text not in shards.document(0)


def test_empty_documents_are_skipped_and_counted(documents, tokenizer, tmp_path):
    with_empty = [Document("", "nothing"), documents[0], Document("", "nothing again")]
    shards = prepare(with_empty, tokenizer, tmp_path / "out")
    assert shards.n_documents == 1
    assert json.loads((tmp_path / "out" / "meta.json").read_text())["empty_documents"] == 2


# Running again


def stopping_after(documents: list[Document], n: int, error: type[BaseException]) -> Iterator[Document]:
    yield from documents[:n]
    raise error


def written(folder: Path, work: Callable[[], object]) -> set[str]:
    """The names of the shards that `work` writes anew."""
    files = [*folder.glob("shard-*.bin")]
    for path in files:
        os.utime(path, (1, 1))
    work()
    return {path.stem for path in folder.glob("shard-*.bin") if path.stat().st_mtime != 1}


def test_ctrl_c_keeps_finished_shards_and_the_rest_follows(prepared, documents, tokenizer, tmp_path):
    out = tmp_path / "corpus"
    with pytest.raises(Stopped):
        prepare(stopping_after(documents, 60, KeyboardInterrupt), tokenizer, out, shard_bytes=SHARD)
    assert not list(out.glob("*.tmp")) and not (out / "meta.json").exists()
    done = len(list(out.glob("shard-*.bin")))
    assert done > 1
    with pytest.raises(InputError, match="unfinished"):
        TokenShards.open(out)
    anew = written(out, lambda: prepare(documents, tokenizer, out, shard_bytes=SHARD))
    assert min(anew) == f"shard-{done:05d}"
    assert contents(out) == contents(prepared)


def test_running_again_writes_nothing(corpus, documents, tokenizer, prepared):
    assert not written(corpus, lambda: prepare(documents, tokenizer, corpus, shard_bytes=SHARD))
    assert contents(corpus) == contents(prepared)


def test_changed_documents_are_prepared_anew_from_there_on(corpus, documents, tokenizer, prepared):
    changed = [*documents[:60], Document("something else", "record 60"), *documents[61:80]]
    anew = written(corpus, lambda: prepare(changed, tokenizer, corpus, shard_bytes=SHARD))
    assert anew and "shard-00000" not in anew
    fresh = corpus.parent / "fresh"
    prepare(changed, tokenizer, fresh, shard_bytes=SHARD)
    assert contents(corpus) == contents(fresh)  # shards that the shorter corpus no longer has are gone


def test_another_tokenizer_prepares_everything_anew(corpus, documents):
    other = Tokenizer.train([documents[0].text, documents[1].text], 290)
    shards = prepare(documents, other, corpus, shard_bytes=SHARD)
    assert shards.document(5).tolist() == other.encode(documents[5].text)
    assert shards.tokenizer().encode(documents[5].text) == other.encode(documents[5].text)


def test_a_damaged_shard_is_repaired(corpus, documents, tokenizer, prepared):
    path = corpus / "shard-00002.bin"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    prepare(documents, tokenizer, corpus, shard_bytes=SHARD)
    assert contents(corpus) == contents(prepared)


KILLED = """
import sys, time
from bottega.data import shards
from bottega.data.documents import Document
from bottega.text.tokenizer import Tokenizer

def slowly(texts):
    for i, text in enumerate(texts):
        time.sleep(0.02)
        yield Document(text, f"record {i}")

if __name__ == "__main__":
    folder, shards.BATCH_BYTES = sys.argv[1], 2000
    texts = open(folder + "/texts").read().split("\\0")
    tokenizer = Tokenizer.load(folder + "/tok")
    shards.prepare(slowly(texts), tokenizer, folder + "/out", workers=2, shard_bytes=int(sys.argv[2]))
"""


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is not of Windows")
def test_kill_leaves_no_process_and_the_same_command_finishes(documents, tokenizer, tmp_path, monkeypatch):
    (tmp_path / "texts").write_text("\0".join(document.text for document in documents))
    (tmp_path / "script.py").write_text(KILLED)
    tokenizer.save(tmp_path / "tok")
    tokenizer = Tokenizer.load(tmp_path / "tok")
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path), str(SHARD)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    out = tmp_path / "out"
    while len(list(out.glob("shard-*.idx"))) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert not (out / "meta.json").exists()
    monkeypatch.setattr("bottega.data.shards.BATCH_BYTES", 2000)
    anew = written(out, lambda: prepare(documents, tokenizer, out, shard_bytes=SHARD))
    assert anew and "shard-00000" not in anew
    prepare(documents, tokenizer, tmp_path / "fresh", shard_bytes=SHARD)
    assert contents(out) == contents(tmp_path / "fresh")


# Progress


def test_progress_grows_to_the_end_and_says_the_time_left(documents, tokenizer, tmp_path):
    seen: list[Progress] = []
    shards = prepare(documents, tokenizer, tmp_path / "out", progress=seen.append, shard_bytes=SHARD)
    assert [step.text_bytes for step in seen] == sorted(step.text_bytes for step in seen)
    assert (seen[-1].documents, seen[-1].tokens) == (shards.n_documents, shards.n_tokens)
    assert seen[-1].text_bytes == seen[-1].total_bytes == shards.n_bytes
    assert seen[0].seconds_left > 0 and seen[-1].seconds_left == 0
    prepare(iter(documents), tokenizer, tmp_path / "other", progress=seen.append)
    assert seen[-1].total_bytes is None and seen[-1].seconds_left is None


# Wrong input


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("nothing", [[], [Document("", "empty")]])
def test_nothing_to_prepare(nothing, tokenizer, tmp_path):
    with pytest.raises(InputError, match="nothing to prepare") as error:
        prepare(nothing, tokenizer, tmp_path / "out")
    one_line(error)
    with pytest.raises(InputError):
        TokenShards.open(tmp_path / "out")


def test_half_a_surrogate_pair_is_named(tokenizer, tmp_path):
    with pytest.raises(InputError, match="record 7: character 3"):
        prepare([Document("abc\ud800", "record 7")], tokenizer, tmp_path / "out")


def test_errors_of_reading_and_writing_are_told_apart(documents, tokenizer, tmp_path):
    with pytest.raises(WorkError, match="cannot read"):
        prepare(stopping_after(documents, 10, PermissionError), tokenizer, tmp_path / "out")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="is a file"):
        prepare(documents, tokenizer, tmp_path / "file")
    with pytest.raises(WorkError, match="cannot write") as error:
        prepare(documents, tokenizer, tmp_path / "file" / "out")
    one_line(error)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(documents, tokenizer, tmp_path):
    out = tmp_path / "out"

    # Left-overs are cleared away before the work, so the link is put there by the first document.
    def filling() -> Iterator[Document]:
        (out / "shard-00000.bin.tmp").symlink_to("/dev/full")
        yield from documents

    with pytest.raises(WorkError, match="No space left") as error:
        prepare(filling(), tokenizer, out)
    one_line(error)
    assert not list(out.glob("*.tmp")) and not list(out.glob("shard-*"))


@pytest.mark.parametrize(
    "damage", ["cut", "grown", "gone", "altered", "index altered", "meta cut", "meta gone", "format"]
)
def test_damage_is_found_on_opening(damage, corpus):
    path, meta = corpus / "shard-00001.bin", corpus / "meta.json"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-2])
    elif damage == "grown":
        path.write_bytes(path.read_bytes() + b"\0\0")
    elif damage == "gone":
        path.unlink()
    elif damage == "altered":
        path.write_bytes(b"\xff" + path.read_bytes()[1:])
    elif damage == "index altered":
        path = path.with_suffix(".idx")
        path.write_bytes(b"\x01" + path.read_bytes()[1:])
    elif damage == "meta cut":
        path = meta
        meta.write_bytes(meta.read_bytes()[:-20])
    elif damage == "meta gone":
        path = corpus
        meta.unlink()
    else:
        path = meta
        meta.write_text(json.dumps(json.loads(meta.read_text()) | {"format": 99}))
    with pytest.raises(InputError) as error:
        TokenShards.open(corpus)
    assert str(path) in one_line(error) and ("prepare" in str(error.value))


def test_every_missing_or_wrong_entry_of_the_record_is_damage(corpus):
    meta = json.loads((corpus / "meta.json").read_text())
    used = {"format", "dtype", "vocab_size", "end_of_text", "tokenizer", "shards"}
    for entry in used:
        for wrong in (meta.keys() - {entry}, None):
            changed = {key: meta[key] for key in wrong} if wrong else meta | {entry: None}
            (corpus / "meta.json").write_text(json.dumps(changed))
            with pytest.raises(InputError) as error:
                TokenShards.open(corpus)
            one_line(error)


def test_a_corpus_has_a_fingerprint_of_its_tokens(prepared, documents, tokenizer, tmp_path):
    same = prepare(iter(documents), tokenizer, tmp_path / "same", shard_bytes=SHARD)
    other = prepare(documents[1:], tokenizer, tmp_path / "other", shard_bytes=SHARD)
    assert TokenShards.open(prepared).fingerprint == same.fingerprint != other.fingerprint
