"""`bottega show`: pictures of what a run or a model does. Each is one module here, show_WHAT.py."""

from __future__ import annotations

import importlib

from bottega.errors import InputError

PICTURES = {
    "curves": "learning curves of runs",
    "positions": "how a Transformer is told where a token stands",
    "states": "what the states of a hidden Markov model emit",
    "words": "a map of Word2Vec's words",
    "alignment": "which words a translator looked at for each that it wrote",
    "attention": "who looks at whom in a Transformer: a page with every head",
    "topics": "the topics of a run: a page with their map, words and documents",
}

EXAMPLES = """Example: bottega show curves runs/first runs/second --out curves.png

`bottega show WHAT --help` explains each with an example."""


def main(argv: list[str]) -> None:
    """Draw what the first argument names, as the others say."""
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        raise SystemExit(0 if argv else 2)
    what, rest = argv[0], argv[1:]
    if what not in PICTURES:
        raise InputError(f"there is no picture {what!r}; expected one of: {', '.join(PICTURES)}")
    importlib.import_module(f"bottega.cli.show_{what}").main(rest)


def usage() -> str:
    """Return the page that `bottega show --help` prints."""
    width = max(map(len, PICTURES))
    lines = "\n".join(f"  {what:<{width}}  {line}" for what, line in PICTURES.items())
    return f"usage: bottega show WHAT …\n\nDraw what a run or a model does.\n\n{lines}\n\n{EXAMPLES}"
