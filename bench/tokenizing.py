"""How many megabytes of text a second become tokens, beside tiktoken and tokenizers; how fast merges come.

    python bench/tokenizing.py                              # 16 MB of the embedded corpus, vocabulary 32,768
    python bench/tokenizing.py --data FILE --tokenizer DIR  # DIR as `bottega tokenizer` takes it
    python bench/tokenizing.py --quick                      # seconds: shows that everything is in place

All encode the same documents with the same merges to the same ids, which is checked. "one" is a call for
each document, on one core; "batch" is each library's own way to use all cores. Rivals alternate; median of
--repeats. MB are millions of bytes of text in UTF-8.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable
from itertools import takewhile

import tiktoken
import tokenizers
from report import record, seconds

from bottega.data.corpus import open_corpus
from bottega.text.bytelevel import to_bytes
from bottega.text.tokenizer import Tokenizer

Encode = Callable[[list[str]], list[list[int]]]


def main() -> None:
    """Measure training where no tokenizer is given, then encoding by each library."""
    options = parse()
    texts = up_to(options.data, options.megabytes * 1e6)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    if options.tokenizer:
        tokenizer = Tokenizer.load(options.tokenizer)
    else:
        taken = [seconds(lambda: Tokenizer.train(texts, options.vocab_size)) for _ in range(options.repeats)]
        row = {"training": options.data, "MB": round(megabytes, 1), "vocabulary": options.vocab_size}
        report("tokenizer-training", row | {"MB/s": megabytes / statistics.median(taken)}, options.quick)
        tokenizer = Tokenizer.train(texts, options.vocab_size)
    for how, encoders in {"one": one_by_one(tokenizer), "batch": batches(tokenizer)}.items():
        row = {
            "how": how,
            "corpus": options.data,
            "MB": round(megabytes, 1),
            "vocabulary": tokenizer.vocab_size,
        }
        for name, rate in rates(encoders, texts, megabytes, options.repeats).items():
            row |= {f"{name} MB/s": round(rate, 2)}
        report("tokenizing", row, options.quick)


def rates(encoders: dict[str, Encode], texts: list[str], megabytes: float, repeats: int) -> dict[str, float]:
    """Megabytes a second of each encoder, after one round that is not counted and checks that all agree."""
    expected = encoders["bottega"](texts)
    for name, encode in encoders.items():
        assert encode(texts) == expected, f"{name} gives other ids"
    times: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(repeats):
        for name, encode in encoders.items():
            times[name].append(seconds(lambda e=encode: e(texts)))
    return {name: megabytes / statistics.median(taken) for name, taken in times.items()}


def one_by_one(tokenizer: Tokenizer) -> dict[str, Encode]:
    """Each library, one document after the other."""
    library, published = rivals(tokenizer)
    return {
        "bottega": lambda texts: [tokenizer.encode(text) for text in texts],
        "tiktoken": lambda texts: [published.encode_ordinary(text) for text in texts],
        "tokenizers": lambda texts: [library.encode(text, add_special_tokens=False).ids for text in texts],
    }


def batches(tokenizer: Tokenizer) -> dict[str, Encode]:
    """Each library, on all cores in its own way."""
    library, published = rivals(tokenizer)
    threads = os.cpu_count() or 1
    return {
        "bottega": tokenizer.encode_batch,
        "tiktoken": lambda texts: published.encode_ordinary_batch(texts, num_threads=threads),
        "tokenizers": lambda texts: [
            e.ids for e in library.encode_batch_fast(texts, add_special_tokens=False)
        ],
    }


def rivals(tokenizer: Tokenizer) -> tuple[tokenizers.Tokenizer, tiktoken.Encoding]:
    """The same merges in both libraries, special tokens spelt out being text in each."""
    definition = json.loads(tokenizer.to_json())
    library = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    library.encode_special_tokens = True
    special = tokenizer.special_tokens
    vocab = definition["model"]["vocab"]
    ranks = {to_bytes(token) or b"": id for token, id in vocab.items() if token not in special}
    pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
    return library, tiktoken.Encoding("r", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def up_to(data: str, limit: float) -> list[str]:
    """The corpus's first documents, `limit` bytes in all."""
    total = 0

    def fits(text: str) -> bool:
        nonlocal total
        total += len(text.encode())
        return total <= limit

    documents, _ = open_corpus([data], report=print)
    return list(takewhile(fits, (document.text for document in documents)))


def report(name: str, row: dict[str, object], quick: bool) -> None:
    """Print a row, and record it unless it is only a trial."""
    print(row)
    if not quick:
        record(name, row)


def parse() -> argparse.Namespace:
    """The command line."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--data", default="embedded", help="a file, folder or data set")
    parser.add_argument("--megabytes", type=float, default=16, help="how much of it, at most")
    parser.add_argument("--tokenizer", help="one with GPT-2's split pattern; else one is trained")
    parser.add_argument("--vocab-size", type=int, default=32768)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="1 MB, a vocabulary of 1,024, once")
    options = parser.parse_args()
    if options.quick:
        options.megabytes, options.vocab_size, options.repeats = 1, 1024, 1
    return options


if __name__ == "__main__":
    main()
