"""Verbs with a module for each word that may follow, bottega/cli/VERB_WORD.py, imported when it is named."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from bottega.errors import InputError


def run_module(verb: str, about: str, words: Mapping[str, str], example: str, argv: list[str]) -> None:
    """Run `bottega VERB WORD …` for one of `words`, each with a line about it; or print what there is.

    Raises InputError for another word.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage(verb, about, words, example))
        raise SystemExit(0 if argv else 2)
    word, rest = argv[0], argv[1:]
    if word not in words:
        raise InputError(f"there is no `bottega {verb} {word}`; expected one of: {', '.join(words)}")
    importlib.import_module(f"bottega.cli.{verb}_{word}").main(rest)


def _usage(verb: str, about: str, words: Mapping[str, str], example: str) -> str:
    width = max(map(len, words))
    lines = "\n".join(f"  {word:<{width}}  {line}" for word, line in words.items())
    ending = f"Example: {example}\n\n`bottega {verb} WHAT --help` explains each with an example."
    return f"usage: bottega {verb} WHAT …\n\n{about}\n\n{lines}\n\n{ending}"
