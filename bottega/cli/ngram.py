"""`bottega ngram`: the n-gram language model, trained in seconds."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName, arg

if TYPE_CHECKING:
    import numpy as np

    from bottega.data.documents import Document
    from bottega.data.shards import TokenShards
    from bottega.models.ngram import NgramModel
    from bottega.text.tokenizer import Tokenizer

DESCRIPTION = """Train, score and sample the n-gram language model (interpolated modified Kneser–Ney).

Example: bottega ngram train data/books --order 5 --out models/books-5gram"""

DOCUMENTS_AT_ONCE = 4096  # read from shards in one go


def main(argv: list[str]) -> None:
    """Run `train`, `score`, `sample`, `arpa` or `import`."""
    tyro.extras.subcommand_cli_from_dict(
        {"train": _train, "score": _score, "sample": _sample, "arpa": _arpa, "import": _import},
        args=argv,
        prog="bottega ngram",
        description=DESCRIPTION,
        config=(FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone),
    )


def _train(
    source: Positional[str],
    out: Path,
    order: int = 5,
    tokenizer: str | None = None,
    text_field: str = "text",
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Count a corpus and smooth the counts; every n-gram is held in memory.

    Example: bottega ngram train shakespeare.txt --tokenizer models/gpt2 --out models/shakespeare

    Args:
        source: a folder made by `bottega data prepare`; or text: a file, folder or data set of the catalog.
        out: the folder for the model.
        order: tokens in the longest n-gram.
        tokenizer: a tokenizer's folder or file; needed for text, and taken from a prepared folder.
        text_field: the field of .jsonl and .parquet that holds the text.
        json_: print one JSON object.
    """
    from bottega.models.ngram import NgramModel, check_folder

    check_folder(out)
    with _progress() as progress:
        progress("reading", 0.0)
        documents, encoder = _corpus(source, tokenizer, text_field)
        model = NgramModel.fit(documents, order, encoder.vocab_size, encoder.end_of_text, progress)
    model.save_pretrained(out)
    encoder.save(out)
    sizes = [len(level.keys) for level in model.levels]
    if json_:
        print(json.dumps({"folder": str(out), "order": order, "ngrams": sizes}))
    else:
        print(f"{out}: n-grams of orders 1 to {order}: {', '.join(f'{size:,}' for size in sizes)}")


def _score(
    model: Positional[str],
    text: Positional[str],
    text_field: str = "text",
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Print the log-probability of a text in nats, with its bits per byte and perplexity.

    Example: bottega ngram score models/books-5gram "It was a bright cold day."

    Args:
        model: the model's folder.
        text: a file or folder of documents; or, where there is none of that name, the text itself.
        text_field: the field of .jsonl and .parquet that holds the text.
        json_: print one JSON object.
    """
    import math

    ngram, tokenizer = _load(model)
    total, tokens, size, n_documents = 0.0, 0, 0, 0
    for document in _documents(text, text_field):
        score = ngram.score(tokenizer.encode(document.text))
        total, tokens = total + score.total, tokens + score.count
        size, n_documents = size + len(document.text.encode()), n_documents + 1
    result = {
        "nats": total,
        "tokens": tokens,
        "bytes": size,
        "documents": n_documents,
        "bits_per_byte": -total / math.log(2) / size,
        "perplexity": math.exp(-total / tokens),
        "kind": "exact",
    }
    if json_:
        print(json.dumps(result))
    else:
        print(f"{total:.2f} nats for {tokens:,} tokens in {n_documents:,} documents, their ends included")
        print(f"{result['bits_per_byte']:.4f} bits per byte, perplexity {result['perplexity']:.2f} per token")


def _sample(model: Positional[str], prompt: str = "", tokens: int = 100, seed: int = 0) -> None:
    """Continue a prompt by random draws from the model.

    Example: bottega ngram sample models/books-5gram --prompt "The old man" --tokens 50

    Args:
        model: the model's folder.
        prompt: how the text begins.
        tokens: how many tokens to draw; after the end of a document comes another.
        seed: the same seed gives the same text.
    """
    from bottega.errors import InputError

    if tokens < 0 or seed < 0:
        raise InputError(f"--tokens is {tokens} and --seed {seed}; expected 0 or more of each")
    ngram, tokenizer = _load(model)
    context = tokenizer.encode(prompt)
    drawn = b"".join(_token_bytes(tokenizer, token) for token in ngram.sample(tokens, seed, context))
    print(prompt + drawn.decode("utf-8", errors="replace"))


def _arpa(model: Positional[str], out: Path) -> None:
    """Write the model as an ARPA file, which SRILM, KenLM and speech recognisers read.

    Example: bottega ngram arpa models/books-5gram --out books.arpa

    Args:
        model: the model's folder.
        out: the file. Its words are the tokens, byte by byte in GPT-2's printable letters ("Ġthe").
    """
    ngram, tokenizer = _load(model)
    names = _names(tokenizer)
    ngram.to_arpa(out, names.__getitem__)
    print(out)


def _import(file: Positional[Path], tokenizer: str, out: Path) -> None:
    """Make a model of an ARPA file whose words are tokens, named as `bottega ngram arpa` names them.

    Example: bottega ngram import books.arpa --tokenizer models/gpt2 --out models/books-5gram

    Args:
        file: the ARPA file.
        tokenizer: a tokenizer's folder or file.
        out: the folder for the model.
    """
    from bottega.models.ngram import NgramModel, check_folder
    from bottega.text.tokenizer import Tokenizer

    check_folder(out)
    encoder = Tokenizer.load(tokenizer)
    ids = {name: token for token, name in enumerate(_names(encoder))}
    model = NgramModel.from_arpa(file, ids.__getitem__, encoder.vocab_size, encoder.end_of_text)
    model.save_pretrained(out)
    encoder.save(out)
    print(f"{out}: a model of order {model.config.order}")


def _corpus(source: str, tokenizer: str | None, text_field: str) -> tuple[Iterator[np.ndarray], Tokenizer]:
    from bottega.data.shards import TokenShards
    from bottega.errors import InputError
    from bottega.text.tokenizer import Tokenizer

    for folder in (Path(source), Path(source, "train")):
        if (folder / "meta.json").is_file():
            if tokenizer is not None:
                raise InputError(f"{source} is prepared with its own tokenizer; leave --tokenizer out")
            shards = TokenShards.open(folder)
            return _tokens(shards), shards.tokenizer()
    if tokenizer is None:
        raise InputError(f"{source} is not a prepared folder, so its text needs a --tokenizer")
    encoder = Tokenizer.load(tokenizer)
    return _encoded(source, encoder, text_field), encoder


def _tokens(shards: TokenShards) -> Iterator[np.ndarray]:
    """The shards' tokens, many documents at a time with an end-of-text between: one by one is slow."""
    for first in range(0, shards.n_documents, DOCUMENTS_AT_ONCE):
        some = slice(first, first + DOCUMENTS_AT_ONCE)
        yield shards.read(shards.starts[some], shards.lengths[some] + 1)[:-1]


def _encoded(source: str, tokenizer: Tokenizer, text_field: str) -> Iterator[np.ndarray]:
    import numpy as np

    from bottega.data.documents import read_documents

    for document in read_documents([source], text_field):
        yield np.array(tokenizer.encode(document.text), dtype=np.int32)


def _documents(text: str, text_field: str) -> Iterator[Document]:
    from bottega.data.documents import Document, read_documents
    from bottega.errors import InputError

    if os.path.exists(text):  # noqa: PTH110, a Path raises on a text that is too long for a name
        yield from read_documents([text], text_field)
    elif text:
        yield Document(text, "the text given")
    else:
        raise InputError("the text is empty; give a text or the name of a file")


def _load(path: str) -> tuple[NgramModel, Tokenizer]:
    from bottega.errors import InputError
    from bottega.models.ngram import NgramModel
    from bottega.text.tokenizer import Tokenizer

    model, tokenizer = NgramModel.from_pretrained(path), Tokenizer.load(path)
    if tokenizer.vocab_size != model.config.vocab_size:
        raise InputError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} ids, the model {model.config.vocab_size}; "
            "train the model again"
        )
    return model, tokenizer


def _names(tokenizer: Tokenizer) -> list[str]:
    from bottega.models.arpa import byte_names

    return byte_names([_token_bytes(tokenizer, token) for token in range(tokenizer.vocab_size)])


def _token_bytes(tokenizer: Tokenizer, token: int) -> bytes:
    from bottega.errors import InputError

    try:
        return tokenizer.token_bytes(token)
    except InputError:  # published vocabularies have unused ids, which keep a sliver of probability here
        return b""


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=1.0)
        yield lambda what, fraction: bar.update(task, description=what, completed=fraction)
