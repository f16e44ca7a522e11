"""`bottega tokenizer`: train one; encode and decode with it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName, arg

if TYPE_CHECKING:
    from bottega.text.tokenizer import Tokenizer

DESCRIPTION = """Train a byte-level BPE tokenizer; turn text into token ids and back.

Example: bottega tokenizer train books/ --vocab-size 8192 --out tokenizers/books
         bottega tokenizer encode tokenizers/books "It is a truth" """

# Bytes per token are counted on this much of the training text, from its beginning.
_MEASURED = 16_000_000


def main(argv: list[str]) -> None:
    """Run `train`, `encode` or `decode`."""
    tyro.extras.subcommand_cli_from_dict(
        {"train": _train, "encode": _encode, "decode": _decode},
        args=argv,
        prog="bottega tokenizer",
        description=DESCRIPTION,
        config=(FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone),
    )


def _train(
    sources: Positional[tuple[str, ...]],
    vocab_size: int,
    out: Path,
    pattern: Literal["gpt2", "cl100k"] = "gpt2",
    text_field: str = "text",
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Learn a vocabulary from text and write it as tokenizer.json.

    Example: bottega tokenizer train books/ more.jsonl.gz --vocab-size 8192 --out tokenizers/books

    Args:
        sources: files, folders, data sets of the catalog, hf://datasets/OWNER/NAME, or embedded.
        vocab_size: how many tokens: 256 bytes, 6 special tokens, and as many merges as that leaves.
        out: the folder for the tokenizer; it must not hold one yet.
        pattern: how text is split into words before merging: as GPT-2 does it, or as cl100k (GPT-3.5) does.
        text_field: the field of .jsonl and .parquet that holds the text.
        json_: print the result as one JSON object.
    """
    from bottega.data.documents import read_documents
    from bottega.text.tokenizer import Tokenizer

    sample = _Sample()
    with _new_folder(out) as fresh, _display() as show:

        def texts() -> Iterator[str]:
            for document in read_documents(sources, text_field, report=_warn):
                show(sample.add(document.text))
                yield document.text
            show(None)

        tokenizer = Tokenizer.train(texts(), vocab_size, pattern)
        tokenizer.save(fresh)
    ids = tokenizer.encode_batch(sample.texts)
    rate = sample.kept / sum(map(len, ids))
    if json_:
        print(json.dumps({"out": str(out), "vocab_size": tokenizer.vocab_size, "bytes_per_token": rate}))
        return
    of = "" if sample.kept == sample.read else f" (its first {sample.kept / 1e6:.0f} MB)"
    print(f"{out}: {tokenizer.vocab_size:,} tokens from {sample.read / 1e6:.1f} MB of text")
    print(f"{rate:.2f} bytes a token on the training text{of}")


def _encode(
    tokenizer: Positional[str],
    text: Positional[str],
    encode_special_tokens: bool = False,
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Print the token ids of a text.

    Example: bottega tokenizer encode tokenizers/books "It is a truth"

    Args:
        tokenizer: its folder or file, or a run or checkpoint that holds one.
        text: the text; - reads standard input.
        encode_special_tokens: what spells a special token (<|endoftext|>) becomes it; else it stays text.
        json_: print one JSON object, with the text of each token beside its id.
    """
    loaded = _load(tokenizer)
    ids = loaded.encode(
        _standard_input() if text == "-" else text, encode_special_tokens=encode_special_tokens
    )
    if json_:
        print(json.dumps({"ids": ids, "tokens": [loaded.decode([id]) for id in ids]}, ensure_ascii=False))
    else:
        print(*ids)


def _decode(
    tokenizer: Positional[str],
    ids: Positional[tuple[str, ...]],
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Print the text of token ids.

    Example: bottega tokenizer decode tokenizers/books 40 1128 262

    Args:
        tokenizer: its folder or file, or a run or checkpoint that holds one.
        ids: the token ids; - reads them from standard input.
        json_: print one JSON object.
    """
    from bottega.errors import InputError

    words = _standard_input().split() if ids == ("-",) else ids
    if wrong := next((word for word in words if not (word.isascii() and word.isdigit())), None):
        raise InputError(f"{wrong!r} is no token id; give whole numbers")
    text = _load(tokenizer).decode(map(int, words))
    print(json.dumps({"text": text}, ensure_ascii=False) if json_ else text)


def _load(path: str) -> Tokenizer:
    from bottega.models.links import follow_link
    from bottega.text.tokenizer import Tokenizer

    return Tokenizer.load(follow_link(Path(path) / "latest") or path)


def _warn(line: str) -> None:
    print(line, file=sys.stderr)


def _standard_input() -> str:
    from bottega.errors import InputError

    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: byte {error.start} is no UTF-8; give text in UTF-8") from None


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill: it takes its name when all is done, else it vanishes. WorkError if it cannot be."""
    import shutil

    from bottega.data.disk import disk_errors
    from bottega.errors import InputError

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already; name a new folder, or remove this one")
    fresh = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with disk_errors(out):
            fresh.mkdir(parents=True)  # before the work, so that it is not done in vain
        yield fresh
        with disk_errors(out):
            if out.is_dir():
                out.rmdir()
            fresh.replace(out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


class _Sample:
    """The beginning of the training text, and how much there was of it in all (in bytes)."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.kept = self.read = 0

    def add(self, text: str) -> int:
        size = len(text.encode("utf-8", "replace"))
        if self.kept < _MEASURED:
            self.texts.append(text)
            self.kept += size
        self.read += size
        return size


@contextlib.contextmanager
def _display() -> Iterator[Callable[[int | None], None]]:
    """Shows on stderr how much has been read: call it with bytes, and with None when the merging begins."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)  # stdout is for results
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading")

        def show(size: int | None) -> None:
            if size is None:
                bar.update(task, description="merging the most frequent pairs")
                return
            bar.advance(task, size)
            bar.update(task, description=f"reading: {bar.tasks[task].completed / 1e6:.0f} MB")

        yield show
