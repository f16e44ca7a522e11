"""How fast a corpus becomes token shards, with 1 and 2 processes, and how fast the loader reads them.

    python bench/preparation.py                                 # 32 MB of the embedded corpus
    python bench/preparation.py --data FILE --tokenizer DIR
    python bench/preparation.py --quick                         # seconds: shows that everything is in place

MB are millions of bytes of text in UTF-8. The documents are in memory before the clock starts; starting the
processes, writing the shards to disk and their checksums count. Median of --repeats runs, alternating.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path

from report import median_of, record, seconds

from bottega.data.corpus import open_corpus
from bottega.data.documents import Document
from bottega.data.shards import TokenShards, prepare
from bottega.text.tokenizer import Tokenizer

TOKENIZER_BYTES = 8_000_000
BATCHES = ((16, 512), (12, 64), (8, 1024))


def main() -> None:
    """Prepare the same documents with each number of workers in turn; then read batches from the result."""
    options = parse()
    documents = up_to(open_corpus([options.data], report=print)[0], options.megabytes * 1e6)
    size = sum(len(document.text.encode()) for document in documents)
    if options.tokenizer:
        tokenizer = Tokenizer.load(options.tokenizer)
    else:
        some = up_to(documents, TOKENIZER_BYTES)
        tokenizer = Tokenizer.train((document.text for document in some), options.vocab_size)
    with tempfile.TemporaryDirectory() as folder:
        measure_preparation(documents, size, tokenizer, Path(folder), options)
        measure_loader(TokenShards.open(Path(folder, "1")))


def measure_preparation(
    documents: list[Document], size: int, tokenizer: Tokenizer, folder: Path, options: argparse.Namespace
) -> None:
    """Seconds from documents to shards."""
    times: dict[int, list[float]] = {workers: [] for workers in options.workers}
    for _ in range(options.repeats):
        for workers in options.workers:
            out = folder / str(workers)
            shutil.rmtree(out, ignore_errors=True)
            times[workers].append(
                seconds(lambda w=workers, o=out: prepare(documents, tokenizer, o, workers=w))
            )
    for workers, taken in times.items():
        row = {
            "workers": workers,
            "corpus": options.data,
            "MB": round(size / 1e6, 1),
            "vocabulary": tokenizer.vocab_size,
            "MB/s": round(size / 1e6 / statistics.median(taken), 2),
        }
        print(row)
        record("preparation", row)


def measure_loader(shards: TokenShards) -> None:
    """Milliseconds until a batch is there, after the epoch has been laid out."""
    # Here, because the workers import this file, and those of `bottega data prepare` need not wait for torch.
    from bottega.data.loader import PackedLoader

    for batch_size, context_length in BATCHES:
        if shards.n_tokens < context_length:
            continue
        loader = PackedLoader(shards, context_length, batch_size)
        row = {
            "batch": f"{batch_size} × {context_length}",
            "documents": shards.n_documents,
            "tokens": shards.n_tokens,
            "ms a batch": round(1e3 * median_of(loader.next_batch, 200), 3),
        }
        print(row)
        record("loader", row)


def up_to(documents: Iterable[Document], limit: float) -> list[Document]:
    """Documents until their bytes reach the limit."""
    taken, size = [], 0
    for document in documents:
        taken.append(document)
        size += len(document.text.encode())
        if size >= limit:
            break
    return taken


def parse() -> argparse.Namespace:
    """The command line."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--data", default="embedded", help="a file, folder or data set")
    parser.add_argument("--megabytes", type=float, default=32, help="how much of it, at most")
    parser.add_argument("--tokenizer", help="a tokenizer's folder or file; trained on the data if not given")
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="1 MB, once")
    options = parser.parse_args()
    if options.quick:
        options.megabytes, options.vocab_size, options.repeats = 1, 1024, 1
    return options


if __name__ == "__main__":
    main()
