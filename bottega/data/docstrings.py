"""The embedded labelled texts: how docstrings begin, and the installed package that each stands in.

Without torch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from bottega.data.embedded import PACKAGES, Module, find_modules
from bottega.data.splits import by_hash, place
from bottega.errors import WorkError

TRAINING, HELD_OUT = 600, 100  # examples of each package
HELD_OUT_MODULES = 0.2
SHORTEST = 40  # characters; shorter ones are "Return a copy."


def docstring_examples() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return training and held-out pairs of a docstring's first paragraph and its package.

    The packages are those of the embedded corpus, `python` among them for the standard library, as far as
    enough of their docstrings are there: every class has equally many. No module stands on both sides, and
    no text. Raises `WorkError` where fewer than two packages come with their sources.
    """
    modules: dict[str, list[Module]] = {}
    for module in find_modules():
        top = module.name.partition(".")[0]
        modules.setdefault(top if top in PACKAGES else "python", []).append(module)
    training: list[tuple[str, str]] = []
    held_out: list[tuple[str, str]] = []
    seen: set[str] = set()
    for package, members in modules.items():
        members.sort(key=lambda module: place(module.name))  # which are read first follows from nothing else
        held = _first(HELD_OUT, (m for m in members if by_hash(m.name, HELD_OUT_MODULES)), seen)
        rest = _first(TRAINING, (m for m in members if not by_hash(m.name, HELD_OUT_MODULES)), seen)
        if len(held) == HELD_OUT and len(rest) == TRAINING:
            held_out += [(text, package) for text in held]
            training += [(text, package) for text in rest]
    if len(training) < 2 * TRAINING:
        raise WorkError("too few packages come with their sources here; give a file of labelled texts")
    return training, held_out


def _first(count: int, modules: Iterable[Module], seen: set[str]) -> list[str]:
    texts: list[str] = []
    for module in modules:
        for text in _paragraphs(module):
            if text not in seen and len(texts) < count:
                seen.add(text)
                texts.append(text)
        if len(texts) == count:
            break
    return texts


def _paragraphs(module: Module) -> Iterator[str]:
    """The first paragraph of each docstring of a module, as one line."""
    try:
        tree = ast.parse(module.path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
            if len(text) >= SHORTEST:
                yield text
