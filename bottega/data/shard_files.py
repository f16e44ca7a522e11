"""Reading token shards: a prepared folder is opened, checked and mapped. It holds

- `shard-00000.bin`: token ids (uint16 or uint32, little-endian): document, end_of_text, document,
  end_of_text …
- `shard-00000.idx`: int64 (documents + 1, 2): the ids (end_of_texts too) and the bytes of text before each
- `tokenizer/`: the tokenizer that made them
- `meta.json`: totals, checksums and fingerprints, written last: a folder without it is unfinished
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bottega.errors import InputError

if TYPE_CHECKING:
    from bottega.text.tokenizer import Tokenizer

FORMAT = 1
Ids = npt.NDArray[np.unsignedinteger[Any]]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TokenShards:
    """A prepared corpus: memory-mapped token ids, and in memory 24 bytes a document that say where it stands.

    The shards, laid end to end, are one array of `n_tokens + n_documents` ids in which every document is
    followed by its end_of_text; `starts` and `read` count in that array.
    """

    folder: Path
    n_tokens: int  # without the end_of_texts
    n_documents: int
    n_bytes: int  # of text, in UTF-8
    vocab_size: int
    end_of_text: int
    tokenizer_digest: str  # equal where the tokenizers are equal
    fingerprint: str  # of the tokens and their tokenizer: equal where the corpus is equal
    starts: Int64s  # per document: its first token in the shards laid end to end
    lengths: Int64s  # per document: tokens, without its end_of_text
    text_bytes: Int64s  # per document: bytes of text, in UTF-8
    _shards: tuple[Ids, ...]
    _shard_ends: Int64s

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = True) -> TokenShards:
        """Map the shards in `folder`. `verify` compares every byte with its checksum (about 1 GB/s).

        Raises `InputError` where the folder holds no finished preparation, or a file is missing, cut or
        altered.
        """
        folder = Path(folder)
        meta = _read_meta(folder)
        for shard, record in enumerate(meta["shards"]):
            if fault := damage(folder, shard, record, meta["dtype"], verify=verify):
                raise InputError(f"{fault}; prepare the corpus again: undamaged shards are kept")
        numbers = range(len(meta["shards"]))
        shards = tuple(_map(shard_path(folder, n, "bin"), meta["dtype"]) for n in numbers)
        indexes = [np.fromfile(shard_path(folder, n, "idx"), "<i8").reshape(-1, 2) for n in numbers]
        ends = np.cumsum([len(shard) for shard in shards], dtype=np.int64)
        sizes = np.concatenate([np.diff(index, axis=0) for index in indexes])  # per document: tokens, bytes
        return cls(
            folder=folder,
            n_tokens=int(ends[-1]) - len(sizes),
            n_documents=len(sizes),
            n_bytes=int(sizes[:, 1].sum()),
            vocab_size=meta["vocab_size"],
            end_of_text=meta["end_of_text"],
            tokenizer_digest=meta["tokenizer"],
            fingerprint=_fingerprint(meta),
            starts=np.cumsum(sizes[:, 0]) - sizes[:, 0],
            lengths=sizes[:, 0] - 1,
            text_bytes=sizes[:, 1].copy(),
            _shards=shards,
            _shard_ends=ends,
        )

    @property
    def tokenizer_folder(self) -> Path:
        """Where the tokenizer of these tokens is saved."""
        return self.folder / "tokenizer"

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of these tokens."""
        from bottega.text.tokenizer import Tokenizer

        return Tokenizer.load(self.tokenizer_folder)

    def document(self, i: int) -> Ids:
        """The token ids of document `i`, without end_of_text."""
        if not 0 <= i < self.n_documents:
            raise IndexError(f"document {i} of {self.n_documents}")
        return self.read(self.starts[i : i + 1], self.lengths[i : i + 1])

    def read(self, starts: Int64s, lengths: Int64s) -> Ids:
        """The ids [start, start + length) of many spans, one after the other; no span may leave its shard."""
        shard_of = np.searchsorted(self._shard_ends, starts, side="right")
        order = np.argsort(shard_of, kind="stable")
        # The place of every id in the shards laid end to end, spans ordered by shard.
        counts = lengths[order]
        begins = np.cumsum(counts) - counts
        places = np.arange(counts.sum()) + np.repeat(starts[order] - begins, counts)
        ids = np.empty(len(places), self._shards[0].dtype)
        used, first_span = np.unique(shard_of[order], return_index=True)
        bounds = [*begins[first_span], len(places)]
        for shard, begin, end in zip(used, bounds, bounds[1:], strict=False):
            origin = self._shard_ends[shard] - len(self._shards[shard])
            ids[begin:end] = self._shards[shard][places[begin:end] - origin]
        if len(used) <= 1:
            return ids
        # Back from the order of the shards to the order of the caller.
        back = np.empty(len(ids), ids.dtype)
        target = np.cumsum(lengths) - lengths
        back[np.arange(len(ids)) + np.repeat(target[order] - begins, counts)] = ids
        return back


def shard_path(folder: Path, shard: int, suffix: str) -> Path:
    """The file of one shard: `suffix` is "bin" (token ids) or "idx" (documents)."""
    return folder / f"shard-{shard:05d}.{suffix}"


def damage(folder: Path, shard: int, record: Any, dtype: str, *, verify: bool) -> str | None:
    """What is wrong with the files of a shard, or None: their sizes, and with `verify` every byte."""
    try:
        documents, ids = record["documents"], record["documents"] + record["tokens"]
        checksums = {suffix: record["crc32"][suffix] for suffix in ("bin", "idx")}
    except (KeyError, TypeError):
        return f"{folder}: the record of shard {shard} is damaged"
    sizes = {"bin": ids * np.dtype(dtype).itemsize, "idx": 16 * (documents + 1)}
    for suffix, size in sizes.items():
        path = shard_path(folder, shard, suffix)
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != size:
            return f"{path} has {path.stat().st_size:,} bytes, expected {size:,}"
        if verify and _crc32(path) != checksums[suffix]:
            return f"{path} is damaged: its checksum is not the recorded one"
    return None


def _crc32(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(2**24):
            crc = zlib.crc32(block, crc)
    return crc


def _map(path: Path, dtype: str) -> Ids:
    # A plain view: np.memmap's own bookkeeping costs microseconds on every slice.
    return np.memmap(path, dtype, mode="r").view(np.ndarray)


def _read_meta(folder: Path) -> dict[str, Any]:
    path = folder / "meta.json"
    if not path.is_file():
        if (folder / "progress.json").is_file():
            raise InputError(f"the preparation of {folder} is unfinished; run its command again to finish it")
        raise InputError(
            f"{folder} holds no prepared corpus (no meta.json); make one with: bottega data prepare"
        )
    try:
        meta: dict[str, Any] = json.loads(path.read_text())
        if meta["format"] != FORMAT:
            raise InputError(
                f"{path} is of format {meta['format']}, expected {FORMAT}; prepare the corpus again"
            )
        if meta["dtype"] not in ("<u2", "<u4") or not meta["shards"]:
            raise ValueError
        _fingerprint(meta), meta["vocab_size"] + meta["end_of_text"]
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        raise InputError(f"{path} is damaged; prepare the corpus again into {folder}") from None
    return meta


def _fingerprint(meta: dict[str, Any]) -> str:
    parts = [meta["tokenizer"], *(str(record["crc32"]) for record in meta["shards"])]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
