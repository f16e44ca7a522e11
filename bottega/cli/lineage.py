"""`bottega lineage`: a family of models on one bench. Each bench is one module here, lineage_WHAT.py."""

from __future__ import annotations

import importlib

from bottega.errors import InputError

BENCHES = {
    "text": "n-gram, HMM, RNN, LSTM, GRU and GPT on the same text, in bits per byte",
    "sentiment": "naive Bayes and logistic regression, by how many texts they have seen",
    "translation": "RNN, RNN with attention and Transformer on the same pairs, in BLEU",
}

EXAMPLES = """Example: bottega lineage text --data shakespeare --minutes 10 --out runs/lineage

`bottega lineage WHAT --help` explains each with an example."""


def main(argv: list[str]) -> None:
    """Run the bench that the first argument names, as the others say."""
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        raise SystemExit(0 if argv else 2)
    what, rest = argv[0], argv[1:]
    if what not in BENCHES:
        raise InputError(f"there is no bench {what!r}; expected one of: {', '.join(BENCHES)}")
    importlib.import_module(f"bottega.cli.lineage_{what}").main(rest)


def usage() -> str:
    """Return the page that `bottega lineage --help` prints."""
    width = max(map(len, BENCHES))
    lines = "\n".join(f"  {what:<{width}}  {line}" for what, line in BENCHES.items())
    return f"usage: bottega lineage WHAT …\n\nCompare models with their ancestors.\n\n{lines}\n\n{EXAMPLES}"
