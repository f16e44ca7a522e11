"""Titles with the paragraphs that they stand over: what a sentence encoder learns from.

Of documents the first line is the title; of the embedded corpus a function's name with the first line of its
docstring is the title of its body. Without torch.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bottega.data.documents import Document, Report, read_documents
from bottega.data.embedded import READING, find_modules
from bottega.data.splits import by_hash
from bottega.errors import InputError

HELD_OUT = 0.1  # of the titles, by a hash of each
LONGEST_TITLE = 200  # characters
SHORTEST, LONGEST = 200, 700  # characters of a paragraph: shorter ones are captions, longer ones are cut
SHORTEST_BODY = 80  # of a function


@dataclass(frozen=True)
class Titled:
    """A title and at least one paragraph that it stands over."""

    title: str
    paragraphs: list[str]


def read_titled(data: Sequence[str], *, report: Report) -> tuple[list[Titled], list[Titled]]:
    """Return training and held-out titles with their paragraphs; a title is on one side only.

    Each of `data` is `embedded` or what `read_documents` reads. Raises InputError where nothing has a title
    and paragraphs.
    """
    if not data:
        raise InputError("no data given; name documents that begin with a title, or embedded")
    found: dict[str, list[str]] = {}
    for source in data:
        embedded = source == "embedded" and not Path(source).exists()
        if embedded:
            report(READING)
        some = _functions() if embedded else _articles(read_documents([source], report=report))
        for one in some:
            found.setdefault(one.title, []).extend(one.paragraphs)
    titled = [Titled(title, paragraphs) for title, paragraphs in found.items()]
    training = [one for one in titled if not by_hash(one.title, HELD_OUT)]
    held_out = [one for one in titled if by_hash(one.title, HELD_OUT)]
    if len(training) < 2 or not held_out:
        raise InputError(
            f"{', '.join(data)}: {len(titled)} titles with paragraphs of {SHORTEST} characters; "
            "expected many documents whose first line is a title"
        )
    return training, held_out


def without_words(text: str, title: str) -> str:
    """`text` without the words of `title` and without words that begin with them."""
    words = set(re.findall(r"\w+", title))
    return re.sub(rf"\b({'|'.join(map(re.escape, words))})\w*", "", text, flags=re.I) if words else text


def _articles(documents: Iterable[Document]) -> Iterator[Titled]:
    for document in documents:
        title, _, body = document.text.lstrip().partition("\n")
        lines = (line.strip() for line in body.split("\n"))
        paragraphs = [line[:LONGEST] for line in lines if len(line) >= SHORTEST]
        if paragraphs and title.strip() and len(title) <= LONGEST_TITLE:
            yield Titled(title.strip(), paragraphs)


def _functions() -> Iterator[Titled]:
    for module in find_modules():
        try:
            yield from functions(module.path.read_text(encoding="utf-8"))
        except (OSError, ValueError, SyntaxError):
            continue


def functions(source: str) -> Iterator[Titled]:
    """The functions of a module that say what they do: name and docstring's first line over the body.

    Raises SyntaxError or ValueError where the source is no Python.
    """
    lines = source.split("\n")  # splitlines would count a form feed, which ast does not
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and len(node.body) > 1 and (said := ast.get_docstring(node)):
            first = said.strip().partition("\n")[0]
            body = "\n".join(lines[node.body[1].lineno - 1 : node.end_lineno])
            if len(body) >= SHORTEST_BODY and first:
                title = f"{node.name.replace('_', ' ').strip()}: {first}"
                yield Titled(title[:LONGEST_TITLE], [body[:LONGEST]])
