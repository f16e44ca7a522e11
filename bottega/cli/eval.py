"""`bottega eval`: how well models predict a held-out text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName, arg

if TYPE_CHECKING:
    from bottega.data.documents import Document
    from bottega.evaluation.scoring import Score

DESCRIPTION = """Bits per byte of one or more models on the same text, the ends of its documents counted.

Example: bottega eval runs/quickstart runs/longer --data heldout.txt
         bottega eval runs/quickstart --data heldout.txt --fim"""


def main(argv: list[str]) -> None:
    """Parse the arguments, evaluate and print."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_eval, args=argv, prog="bottega eval", description=DESCRIPTION, config=markers)


def _eval(
    models: Positional[tuple[str, ...]],
    data: tuple[str, ...],
    text_field: str = "text",
    fim: bool = False,
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Evaluate models on a text that they have not seen.

    Args:
        models: runs, checkpoint folders or Hub repositories; GPTs and n-gram models.
        data: files, folders or data sets of the catalog.
        text_field: the field of .jsonl and .parquet that holds the text.
        fim: score middles instead, of several lengths, with the suffix that follows them and without.
        json_: print one JSON object a model, line by line; with --fim one a model and length.
    """
    from rich.console import Console
    from rich.table import Table

    from bottega.data.documents import read_documents
    from bottega.errors import InputError

    if not models:
        raise InputError("name at least one model, such as: bottega eval runs/quickstart --data heldout.txt")
    documents = list(read_documents(data, text_field))
    if fim:
        _fill_in(models, [document.text for document in documents], json_)
        return
    scores = {model: _score(model, documents) for model in models}
    if json_:
        for model, score in scores.items():
            values = {"bits_per_byte": score.bits_per_byte, "perplexity": score.perplexity}
            print(json.dumps({"model": model, **values, "tokens": score.tokens, "bytes": score.bytes}))
        return
    table = Table("model", "bits per byte", "perplexity a token", "tokens", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for model, score in sorted(scores.items(), key=lambda pair: pair[1].bits_per_byte):
        table.add_row(model, f"{score.bits_per_byte:.4f}", f"{score.perplexity:,.2f}", f"{score.tokens:,}")
    console = Console()
    console.print(table)
    console.print(f"\n{len(documents):,} documents, {next(iter(scores.values())).bytes:,} bytes")


def _fill_in(models: tuple[str, ...], texts: list[str], json_: bool) -> None:
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from bottega.errors import InputError
    from bottega.evaluation.insertion import score_middles
    from bottega.models.gpt import GPT
    from bottega.models.load import load, load_tokenizer

    columns = ("model", "characters", "bits per byte", "without the suffix", "saved")
    table = Table(*columns, box=None, pad_edge=False)
    for name in models:
        model = load(name)
        if not isinstance(model, GPT):
            raise InputError(f"{name}: only a GPT can fill in the middle")
        for score in score_middles(model, load_tokenizer(name), texts):
            if json_:
                print(json.dumps({"model": name, **asdict(score)}))
            bits = f"{score.with_suffix:.4f}", f"{score.without_suffix:.4f}", f"{score.saving:.1%}"
            table.add_row(name, str(score.characters), *bits)
    if not json_:
        Console().print(table)


def _score(model: str, documents: list[Document]) -> Score:
    from rich.console import Console
    from rich.progress import track

    from bottega.evaluation.scoring import Score, score_text
    from bottega.models.load import load, load_tokenizer

    loaded, tokenizer = load(model), load_tokenizer(model)
    console = Console(stderr=True)
    total = Score(0.0, 0, 0)
    for document in track(documents, model, console=console, transient=True, disable=not console.is_terminal):
        total += score_text(loaded, tokenizer, document.text, whole=True)
    return total
