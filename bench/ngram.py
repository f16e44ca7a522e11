"""How fast the n-gram model is trained and scored on one core, beside KenLM's lmplz and query.

    python bench/ngram.py                          # embedded corpus, 10 million tokens
    python bench/ngram.py --kenlm DIR              # DIR holds lmplz and query, built from KenLM's sources
    python bench/ngram.py --quick                  # seconds: shows that everything is in place

Both programs read the same tokens and run on one and the same core; writing and reading the text that KenLM
needs is part of its time, tokenising is part of neither's. Times are the best of --repeats.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from report import record

from bottega.data.corpus import open_corpus
from bottega.models.ngram import NgramModel, best_order
from bottega.text.tokenizer import Tokenizer

HELD_OUT_BYTES = 300_000
TOKENIZER_BYTES = 20_000_000

T = TypeVar("T")


def main() -> None:
    """Measure each order, then the comparison of orders that the quickstart makes."""
    options = parse()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # lmplz inherits it
    train, held_out, tokenizer = tokens(options.data, options.tokens, options.vocab_size)
    n_tokens = sum(len(document) + 1 for document in train)
    size = tokenizer.vocab_size, tokenizer.end_of_text
    for order in options.orders:
        seconds, model = best(lambda n=order: NgramModel.fit(train, n, *size), options.repeats)
        text = join(train[: max(1, len(train) // 10)], tokenizer.end_of_text)
        score_seconds, _ = best(lambda m=model, t=text: m.score(t), options.repeats)
        row = {
            "order": order,
            "tokens": n_tokens,
            "n-grams": sum(len(level.keys) for level in model.levels),
            "training tokens/s": round(n_tokens / seconds),
            "scoring tokens/s": round(len(text) / score_seconds),
            "perplexity": perplexity(model, join(held_out, tokenizer.end_of_text)),
        }
        if options.kenlm:
            row |= kenlm(options.kenlm, train, held_out, order, tokenizer.vocab_size, options.repeats)
        report("ngram", row, options.quick)
    some = train[: max(1, len(train) // 2)]
    seconds, (chosen, _) = best(lambda: best_order(some, held_out, *size, orders=range(2, 6)), 1)
    row = {
        "comparison of orders": "2 to 5",
        "tokens": sum(len(document) + 1 for document in some),
        "seconds": round(seconds, 2),
        "best order": chosen.config.order,
    }
    report("ngram-orders", row, options.quick)


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
    parser.add_argument("--tokens", type=float, default=1e7, help="how many tokens to train on, at most")
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--orders", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kenlm", type=Path, help="the folder that holds lmplz and query")
    parser.add_argument("--quick", action="store_true", help="100,000 tokens, order 3, once")
    options = parser.parse_args()
    if options.quick:
        options.tokens, options.vocab_size, options.orders, options.repeats = 1e5, 1024, [3], 1
    return options


def tokens(data: str, limit: float, vocab_size: int) -> tuple[list[np.ndarray], list[np.ndarray], Tokenizer]:
    """Training documents up to `limit` tokens, held-out ones up to 300 kB of text, and their tokenizer."""
    training, held = open_corpus([data], report=print)
    training = list(training)
    tokenizer = Tokenizer.train(up_to((d.text for d in training), TOKENIZER_BYTES, len), vocab_size)

    def encoded(texts: Iterator[str]) -> Iterator[np.ndarray]:
        return (np.array(tokenizer.encode(text), dtype=np.int32) for text in texts)

    train = list(up_to(encoded(d.text for d in training), limit, len))
    held_out = list(encoded(up_to((d.text for d in held), HELD_OUT_BYTES, len)))
    return train, held_out, tokenizer


def up_to(items: Iterator[T], limit: float, size: Callable[[T], int]) -> Iterator[T]:
    """Items until their sizes reach the limit."""
    total = 0
    for item in items:
        yield item
        total += size(item)
        if total >= limit:
            return


def join(documents: list[np.ndarray], end_of_text: int) -> np.ndarray:
    """One array with an end-of-text between documents: the model scores it in one call."""
    pieces = chain.from_iterable(([end_of_text], document) for document in documents)
    return np.concatenate(list(pieces))[1:]


def best(work: Callable[[], T], repeats: int) -> tuple[float, T]:
    """The least seconds of some repeats, and the last result."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return min(times), result


def perplexity(model: NgramModel, ids: np.ndarray) -> float:
    """Per token of the held-out text, ends of documents included."""
    score = model.score(ids)
    return round(math.exp(-score.total / score.count), 4)


def kenlm(
    binaries: Path,
    train: list[np.ndarray],
    held_out: list[np.ndarray],
    order: int,
    vocab_size: int,
    repeats: int,
) -> dict[str, float]:
    """The same with lmplz and query."""
    n_tokens = sum(len(document) + 1 for document in train)
    with tempfile.TemporaryDirectory() as folder:
        text, held, arpa = Path(folder, "train.txt"), Path(folder, "held-out.txt"), Path(folder, "arpa")
        for path, documents in ((text, train), (held, held_out)):
            path.write_text("".join(" ".join(f"t{i}" for i in ids) + "\n" for ids in documents))
        build = [str(binaries / "lmplz"), "-o", str(order), "-S", "4G", "-T", folder]
        build += ["--text", str(text), "--arpa", str(arpa)]
        build += ["--vocab_pad", str(vocab_size), "--discount_fallback"]
        seconds, _ = best(lambda: subprocess.run(build, check=True, capture_output=True), repeats)
        ask = [str(binaries / "query"), "-v", "summary", str(arpa)]
        with held.open() as file:
            said = subprocess.run(ask, stdin=file, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Perplexity including OOVs:\s*(\S+)", said)
    return {
        "lmplz training tokens/s": round(n_tokens / seconds),
        "kenlm perplexity": round(float(found[1]), 4) if found else math.nan,
    }


if __name__ == "__main__":
    main()
