"""Preparing token shards: documents are tokenised once, in parallel, into files that the loader maps.

The files are described in `shard_files`. Shards are cut by bytes of text, never by tokens, so that a resumed
preparation finds the cuts again without tokenising.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bottega.data.disk import atomic_file, disk_errors, write_json
from bottega.data.progress import Progress, Tally, progress_bar
from bottega.data.shard_files import FORMAT, Ids, Int64s, TokenShards, damage, shard_path
from bottega.data.workers import ordered_map
from bottega.errors import InputError, Stopped, WorkError

if TYPE_CHECKING:
    from bottega.data.documents import Document
    from bottega.text.tokenizer import Tokenizer

__all__ = ["Progress", "TokenShards", "prepare", "progress_bar"]

# Both in bytes of text. A shard is what a kill may cost, and what a resume holds in memory; a batch is one
# errand of a worker.
SHARD_BYTES, BATCH_BYTES = 2**26, 2**19
UINT16_IDS = 2**16  # vocabularies up to here are kept in 16 bits an id


def prepare(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    out: str | Path,
    *,
    workers: int = 1,
    progress: Callable[[Progress], None] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> TokenShards:
    """Tokenise `documents` in their order, each followed by end_of_text, into shards under `out`; open them.

    The files are the same for any number of `workers` (processes). Where `out` holds shards of an earlier
    run, finished or killed, those with the same documents and tokenizer are kept; the rest is made anew.
    Documents with empty text are skipped and counted (`empty_documents` in meta.json).

    Raises `InputError` where no document has text, or one is not Unicode; `WorkError` where `out` cannot be
    written; `Stopped` on Ctrl-C. Finished shards then stay for the next call.
    """
    if workers < 1 or shard_bytes < 1:
        raise InputError(f"workers is {workers}, shard_bytes {shard_bytes}; expected 1 or more of each")
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; expected a folder for the shards; name another")
    tally = Tally(progress, _total_bytes(documents) if progress else None)
    try:
        _prepare(documents, tokenizer, out, workers, shard_bytes, tally)
    except KeyboardInterrupt:
        raise Stopped(f"stopped; finished shards stay in {out}, and the same command goes on there") from None
    return TokenShards.open(out, verify=False)


def _prepare(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    out: Path,
    workers: int,
    shard_bytes: int,
    tally: Tally,
) -> None:
    job = _save_tokenizer(tokenizer, out) | {"format": FORMAT, "shard_bytes": shard_bytes}
    empty: list[str] = []
    records, todo = _keep(out, job, _batches(documents, shard_bytes, empty), tally)
    first = next(todo, None)
    if first is not None or not records:
        write_json(out / "progress.json", job | {"shards": records})
        (out / "meta.json").unlink(missing_ok=True)
    if first is not None:
        # The tokenizer's rules are not picklable; workers read the copy that has just been saved.
        there = partial(_encode_in_worker, out / "tokenizer", job["dtype"])
        encode = partial(_encode, tokenizer, job["dtype"]) if workers == 1 else there
        encoded = ordered_map(encode, itertools.chain([first], todo), workers)
        for shard, group in itertools.groupby(encoded, key=lambda batch: batch.shard):
            records.append(_write_shard(out, shard, group, tally))
            write_json(out / "progress.json", job | {"shards": records})
    if not records:
        raise InputError(
            f"{len(empty)} documents, none with text, so there is nothing to prepare; name others"
        )
    totals = {key: sum(record[key] for record in records) for key in ("documents", "tokens", "text_bytes")}
    write_json(out / "meta.json", job | totals | {"empty_documents": len(empty), "shards": records})
    (out / "progress.json").unlink(missing_ok=True)
    for stale in [*out.glob("shard-*.bin"), *out.glob("shard-*.idx")]:
        if stale.stem[6:].isdecimal() and int(stale.stem[6:]) >= len(records):
            stale.unlink()


# Reading the source, and knowing it again


@dataclass(frozen=True)
class _Batch:
    shard: int
    texts: list[str]
    sizes: list[int]  # bytes of text per document
    digest: bytes  # of names and texts


def _batches(documents: Iterable[Document], shard_bytes: int, empty: list[str]) -> Iterator[_Batch]:
    """Cut the stream into batches and number their shards; both cuts depend on the texts alone."""
    shard, in_shard, in_batch = 0, 0, 0
    texts: list[str] = []
    sizes: list[int] = []
    digest = hashlib.blake2b(digest_size=16)
    for document in _readable(documents):
        if not document.text:
            empty.append(document.name)
            continue
        text, name = _utf8(document), document.name.encode(errors="surrogatepass")
        digest.update(b"%d %d " % (len(name), len(text)) + name + text)
        texts.append(document.text)
        sizes.append(len(text))
        in_shard, in_batch = in_shard + len(text), in_batch + len(text)
        if in_shard >= shard_bytes or in_batch >= BATCH_BYTES:
            yield _Batch(shard, texts, sizes, digest.digest())
            texts, sizes, in_batch, digest = [], [], 0, hashlib.blake2b(digest_size=16)
            if in_shard >= shard_bytes:
                shard, in_shard = shard + 1, 0
    if texts:
        yield _Batch(shard, texts, sizes, digest.digest())


def _readable(documents: Iterable[Document]) -> Iterator[Document]:
    try:
        yield from documents
    except OSError as error:  # caught here, so that it does not pass for an error of writing
        reason = error.strerror or str(error)
        raise WorkError(f"cannot read {error.filename or 'the documents'}: {reason}") from None


def _utf8(document: Document) -> bytes:
    try:
        return document.text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{document.name}: character {error.start} is half of a surrogate pair, which is no text; "
            "repair the document or leave it out"
        ) from None


def _total_bytes(documents: Iterable[Document]) -> int | None:
    if not isinstance(documents, Sequence):
        return None
    return sum(len(document.text.encode(errors="replace")) for document in documents)


def _keep(
    out: Path, job: dict[str, Any], batches: Iterator[_Batch], tally: Tally
) -> tuple[list[dict[str, Any]], Iterator[_Batch]]:
    """The records of the leading shards that are as the source is now, and the batches after them."""
    shards = (group for _, group in itertools.groupby(batches, key=lambda batch: batch.shard))
    kept: list[dict[str, Any]] = []
    for shard, record in enumerate(_earlier_records(out, job)):
        held = list(next(shards, iter(())))
        intact = damage(out, shard, record, job["dtype"], verify=True) is None
        if not (held and intact and record.get("source") == _source(batch.digest for batch in held)):
            return kept, itertools.chain(held, itertools.chain.from_iterable(shards))
        kept.append(record)
        tally.add(record["documents"], record["tokens"], record["text_bytes"])
    return kept, itertools.chain.from_iterable(shards)


def _source(digests: Iterable[bytes]) -> str:
    return hashlib.blake2b(b"".join(digests), digest_size=16).hexdigest()


def _earlier_records(out: Path, job: dict[str, Any]) -> list[dict[str, Any]]:
    """What an earlier run of the same job (tokenizer, format, size of a shard) finished."""
    for name in ("meta.json", "progress.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            earlier = json.loads((out / name).read_text())
            if all(earlier[key] == value for key, value in job.items()):
                return list(earlier["shards"])
    return []


# Tokenising and writing


@dataclass(frozen=True)
class _Encoded:
    shard: int
    digest: bytes
    ids: Ids  # each document followed by end_of_text
    sizes: Int64s  # (documents, 2): tokens with end_of_text, bytes of text


@lru_cache(maxsize=1)
def _tokenizer_of_worker(folder: Path) -> Tokenizer:
    from bottega.text.tokenizer import Tokenizer

    return Tokenizer.load(folder)


def _encode_in_worker(tokenizer_folder: Path, dtype: str, batch: _Batch) -> _Encoded:
    return _encode(_tokenizer_of_worker(tokenizer_folder), dtype, batch)


def _encode(tokenizer: Tokenizer, dtype: str, batch: _Batch) -> _Encoded:
    # By document, not by `encode_batch`: that one starts threads, and the other workers have the other cores.
    end = np.array([tokenizer.end_of_text], dtype)
    documents = [np.array(tokenizer.encode(text), dtype) for text in batch.texts]
    ids = np.concatenate([part for document in documents for part in (document, end)])
    lengths = [len(document) + 1 for document in documents]
    sizes = np.stack([lengths, batch.sizes], axis=1).astype(np.int64)
    return _Encoded(batch.shard, batch.digest, ids, sizes)


def _write_shard(out: Path, shard: int, group: Iterable[_Encoded], tally: Tally) -> dict[str, Any]:
    crc = 0
    digests: list[bytes] = []
    sizes = [np.zeros((1, 2), np.int64)]
    with atomic_file(shard_path(out, shard, "bin")) as file:
        for encoded in group:
            file.write(encoded.ids.data)
            crc = zlib.crc32(encoded.ids.data, crc)
            digests.append(encoded.digest)
            sizes.append(encoded.sizes)
            tokens, text_bytes = (encoded.sizes - [1, 0]).sum(axis=0).tolist()
            tally.add(len(encoded.sizes), tokens, text_bytes)
    index = np.ascontiguousarray(np.concatenate(sizes).cumsum(axis=0, dtype="<i8"))
    with atomic_file(shard_path(out, shard, "idx")) as file:
        file.write(index.data)
    documents, (ids, text_bytes) = len(index) - 1, index[-1].tolist()
    return {
        "documents": documents,
        "tokens": ids - documents,
        "text_bytes": text_bytes,
        "source": _source(digests),
        "crc32": {"bin": crc, "idx": zlib.crc32(index.data)},
    }


def _save_tokenizer(tokenizer: Tokenizer, out: Path) -> dict[str, Any]:
    """Save the tokenizer beside the shards; return what of it decides whether two jobs are the same."""
    fresh, folder, end_of_text = out / "tokenizer.tmp", out / "tokenizer", tokenizer.end_of_text
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(fresh, ignore_errors=True)
        for left_over in out.glob("shard-*.tmp"):  # of a run that was killed
            left_over.unlink()
        fresh.mkdir()
        tokenizer.save(fresh)
        digest = _digest(fresh)
        if _digest(folder) == digest:
            shutil.rmtree(fresh)
        else:
            # Shards without their tokenizer must not pass for finished ones, not even between these lines.
            (out / "meta.json").unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            fresh.replace(folder)
    return {
        "tokenizer": digest,
        "vocab_size": tokenizer.vocab_size,
        "end_of_text": end_of_text,
        "dtype": "<u2" if tokenizer.vocab_size <= UINT16_IDS else "<u4",
    }


def _digest(tokenizer_folder: Path) -> str | None:
    """Equal where two tokenizers encode alike; None where there is none that can be read."""
    try:
        definition = json.loads((tokenizer_folder / "tokenizer.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    # The order of the keys says nothing, and is not the same after saving, loading and saving again.
    return hashlib.blake2b(json.dumps(definition, sort_keys=True).encode(), digest_size=16).hexdigest()
