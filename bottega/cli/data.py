"""`bottega data`: the data sets known by name, and corpora made ready for training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName, arg

DESCRIPTION = """List and fetch data sets; turn text into token shards.

Example: bottega data prepare books/ --tokenizer tokenizers/books --out data/books"""


def main(argv: list[str]) -> None:
    """Run `list`, `get` or `prepare`."""
    tyro.extras.subcommand_cli_from_dict(
        {"list": _list, "get": _get, "prepare": _prepare},
        args=argv,
        prog="bottega data",
        description=DESCRIPTION,
        config=(FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone),
    )


def _list(json_: Annotated[bool, arg(name="json")] = False) -> None:
    """List the data sets of the catalog, and which of them are here.

    Example: bottega data list

    Args:
        json_: print one JSON object a data set, line by line.
    """
    from bottega.data import catalog
    from bottega.data.catalog_table import DATASETS

    if json_:
        for dataset in DATASETS:
            row = {
                "name": dataset.name,
                "what": dataset.what,
                "bytes": dataset.size,
                "licence": dataset.licence,
            }
            files = [file.path for file in dataset.files]
            print(json.dumps(row | {"files": files, "here": catalog.present(dataset)}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "what", "size", "licence", "", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    for dataset in DATASETS:
        missing = "to download" if all(file.url for file in dataset.files) else "by hand"
        state = "here" if catalog.present(dataset) else missing
        table.add_row(dataset.name, dataset.what, _megabytes(dataset.size), dataset.licence, state)
    console = Console()
    console.print(table)
    console.print(f"\nThey are kept under {catalog.data_folder()}; `bottega data get NAME` downloads one.")


def _get(name: Positional[str]) -> None:
    """Download a data set into the folder that BOTTEGA_DATA names, and check it.

    Example: bottega data get shakespeare

    Args:
        name: a name that `bottega data list` shows.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from bottega.data import catalog

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name)
        paths = catalog.get(name, lambda done, total: bar.update(task, completed=done, total=total))
    for path in paths:
        print(path)


def _prepare(
    sources: Positional[tuple[str, ...]],
    tokenizer: str,
    out: Path,
    workers: int = 1,
    held_out: float | None = None,
    text_field: str = "text",
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Tokenise a corpus into OUT/train and OUT/heldout, where `bottega train --data OUT` finds them.

    Example: bottega data prepare books/ more.jsonl.gz --tokenizer tokenizers/books --out data/books

    Args:
        sources: files, folders, data sets of the catalog, hf://datasets/OWNER/NAME, or embedded.
        tokenizer: a tokenizer's folder or file.
        out: the folder for the token shards; the same command goes on where it was stopped.
        workers: how many processes tokenise.
        held_out: the share to hold out; 1 % if not given, or more of a small corpus; 0 for none.
        text_field: the field of .jsonl and .parquet that holds the text.
        json_: print the result as one JSON object.
    """
    import shutil
    import sys

    from bottega.data import shards
    from bottega.data.corpus import open_corpus
    from bottega.text.tokenizer import Tokenizer

    encoder = Tokenizer.load(tokenizer)
    training, held = open_corpus(
        sources, text_field, held_out, report=lambda line: print(line, file=sys.stderr)
    )
    result = {}
    # What an earlier split held out may be in this one's training text: it must not be validated on.
    shutil.rmtree(out / "heldout", ignore_errors=True)
    for part, documents in (("train", training), ("heldout", held)):
        if part == "heldout" and not held:
            continue
        with shards.progress_bar(part) as progress:
            made = shards.prepare(documents, encoder, out / part, workers=workers, progress=progress)
        result[part] = {"documents": made.n_documents, "tokens": made.n_tokens, "bytes": made.n_bytes}
    print(json.dumps(result) if json_ else _summary(result, out))


def _summary(result: dict[str, dict[str, int]], out: Path) -> str:
    return "\n".join(
        f"{out / part}: {sizes['documents']:,} documents, {sizes['tokens']:,} tokens, "
        f"{sizes['bytes'] / sizes['tokens']:.2f} bytes a token"
        for part, sizes in result.items()
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
