"""What lies in a file: its bytes decompressed, its text decoded; every error names the file in one line."""

from __future__ import annotations

import codecs
import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from bottega.errors import InputError

CHUNK = 1 << 20  # bytes read at a time
COMPRESSED = (".gz", ".xz", ".zst")


class NotTextError(InputError):
    """A file that is empty, binary, or in another encoding than UTF-8."""


def inner_suffix(path: Path) -> str:
    """Return the suffix that tells the format, in lower case: `.jsonl` for `a.jsonl` and for `a.jsonl.xz`."""
    return Path(path.stem if path.suffix.lower() in COMPRESSED else path.name).suffix.lower()


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, decompressed where its name ends in `.gz`, `.xz` or `.zst`.

    Raises `InputError` for a compressed file that is damaged or cut off, `OSError` for an unreadable one.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".zst":
            yield from _zst_chunks(path)
            return
        opener = cast("Callable[[Path], IO[bytes]]", {".gz": gzip.open, ".xz": lzma.open}.get(suffix, _open))
        with opener(path) as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise _damaged(path, str(error)) from None


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _zst_chunks(path: Path) -> Iterator[bytes]:
    import zstandard

    # zstandard's own stream_reader ends without an error where the file was cut off; `eof` tells.
    frame = zstandard.ZstdDecompressor().decompressobj()
    begun = False
    with path.open("rb") as stream:
        while data := stream.read(CHUNK // 8):
            while data:
                if frame.eof:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                try:
                    chunk = frame.decompress(data)
                except zstandard.ZstdError as error:
                    raise _damaged(path, str(error)) from None
                begun, data = True, frame.unused_data
                if chunk:
                    yield chunk
    if begun and not frame.eof:
        raise _damaged(path, "it ended inside a frame")


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: damaged or cut off ({reason}); fetch it or compress it again")


def read_text(path: Path) -> Iterator[str]:
    """Yield a UTF-8 text file's characters as they are, without a byte-order mark.

    Raises `NotTextError` where the file is empty, holds NUL bytes (it is binary then), or is not UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    for chunk in read_chunks(path):
        if offset == 0 and chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise NotTextError(f"{path}: UTF-16, expected UTF-8; convert it: `iconv -f UTF-16 -t UTF-8`")
        if (nul := chunk.find(0)) >= 0:
            raise NotTextError(f"{path}: a binary file (NUL at byte {offset + nul:,}); expected text")
        text = _decode(decoder, chunk, offset, path)
        yield text.removeprefix("\ufeff") if offset == 0 else text
        offset += len(chunk)
    if offset == 0:
        raise NotTextError(f"{path}: empty; expected text")
    _decode(decoder, b"", offset, path)


def _decode(decoder: codecs.IncrementalDecoder, chunk: bytes, offset: int, path: Path) -> str:
    waiting = len(decoder.getstate()[0])  # bytes of a character that the last chunk cut in two
    try:
        return decoder.decode(chunk, final=not chunk)
    except UnicodeDecodeError as error:
        where = offset - waiting + error.start
        raise NotTextError(
            f"{path}: byte 0x{error.object[error.start]:02x} at offset {where:,} is not UTF-8; convert it "
            "(`iconv -f LATIN1 -t UTF-8` if it is Latin-1) or leave it out"
        ) from None


def cut(chunks: Iterable[str], size: int) -> Iterator[str]:
    """Cut a text into pieces of `size` to 2·`size` characters; joined, they are the text again.

    A piece ends at the first blank line after `size` characters, or else at a line's end, a space, anywhere.
    Only the last piece may be shorter.
    """
    text, start = "", 0
    for chunk in chunks:
        text, start = text[start:] + chunk, 0
        while len(text) - start >= 2 * size:
            end = _boundary(text, start + size, start + 2 * size)
            yield text[start:end]
            start = end
    if start < len(text):
        yield text[start:]


def _boundary(text: str, low: int, high: int) -> int:
    for mark in ("\n\n", "\n", " "):
        if (at := text.find(mark, low, high)) >= 0:
            return at + len(mark)
    return high


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield a file's lines without their ends, whatever their length, holding one line at a time."""
    parts: list[bytes] = []
    for chunk in read_chunks(path):
        first, *others = chunk.split(b"\n")
        parts.append(first)
        for line in others:
            yield b"".join(parts)
            parts = [line]
    if last := b"".join(parts):
        yield last


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, record) for each line of a JSON Lines file, blank lines left out."""
    number = 0
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            raise NotTextError(f"{path}, line {number}: its byte {error.start:,} is not UTF-8") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(record, dict):
            raise InputError(f"{path}, line {number}: {type(record).__name__}, expected a JSON object")
        yield number, record
    if number == 0:
        raise NotTextError(f"{path}: empty; expected one JSON object a line")


def read_parquet(path: Path, field: str) -> Iterator[object]:
    """Yield the values of one column of a Parquet file, row by row."""
    import pyarrow
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        if field not in table.schema_arrow.names:
            columns = ", ".join(table.schema_arrow.names)
            raise InputError(f"{path}: no column {field!r} among {columns}; name one with --text-field")
        for batch in table.iter_batches(batch_size=1000, columns=[field]):
            yield from batch.column(0).to_pylist()
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a sound Parquet file ({str(error).splitlines()[0]})") from None
