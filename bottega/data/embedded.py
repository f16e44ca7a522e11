"""The embedded corpus: the text that every installation carries, for training without a network.

It is the standard library's source and docstrings, the prose behind `help()`, and the sources of the
installed scientific packages. What it holds follows from the installed versions alone.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import string
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bottega.data.documents import Document
from bottega.data.near_duplicates import without_copies
from bottega.data.splits import by_hash
from bottega.errors import WorkError

PACKAGES = ("numpy", "scipy", "pandas", "matplotlib", "sympy", "mpmath", "networkx", "torch")
HELD_OUT = 0.015  # of all modules
READING = "embedded: reading the sources that this Python carries takes some seconds"
# Bytes of a module: less is a stub, more would be most of the held-out part.
SMALLEST, LARGEST = 700, 100_000

# Tests, and folders of tables or of other projects.
_LEFT_OUT = {"test", "tests", "testing", "idle_test", "benchmarks"}
_LEFT_OUT |= {"encodings", "site-packages", "dist-packages"}
_LETTERS = string.ascii_letters.encode()
_PROSE = 0.55  # the least share of letters among what is not space; tables of numbers have 0.005 to 0.5
_TOPICS = "pydoc_data.topics"


@dataclass(frozen=True)
class Module:
    """A source file, by the name that it is imported under."""

    name: str
    path: Path


def embedded_documents(
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Document], list[Document]]:
    """Return the training and the held-out documents of the embedded corpus.

    The split is by module, decided by its name before anything is read, so no module stands on both sides.
    Training documents that are near-copies of held-out ones are left out, and so are repeated ones.
    `progress` is called with the number of modules read and their total.
    Raises `WorkError` where this Python comes without its sources.
    """
    modules = list(find_modules())
    held_out = [module for module in modules if by_hash(module.name, HELD_OUT)]
    training = [module for module in modules if not by_hash(module.name, HELD_OUT)]
    held_documents = list(_distinct(_read(held_out, 0, len(modules), progress)))
    rest = _distinct(_read(training, len(held_out), len(modules), progress))
    documents = list(without_copies(rest, held_documents))
    if not documents or not held_documents:
        raise WorkError("this Python comes without its sources; give a text to learn from with --data")
    return documents, held_documents


def find_modules() -> Iterator[Module]:
    """Yield the corpus's modules in a fixed order: the standard library, then PACKAGES as installed."""
    yield from _walk(Path(sysconfig.get_path("stdlib")), "")
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)  # finds a top-level package without importing it
        for folder in (spec and spec.submodule_search_locations) or []:
            yield from _walk(Path(folder), package + ".")


def _walk(root: Path, prefix: str) -> Iterator[Module]:
    for parent, folders, files in os.walk(root):
        # Private folders are a package's engine room: half of torch's text, and new with every release.
        folders[:] = sorted(
            name for name in folders if name not in _LEFT_OUT and not name.startswith(("_", "."))
        )
        for name in sorted(files):
            path = Path(parent, name)
            # _sysconfigdata holds the paths and flags of the machine that Python was built on.
            if path.suffix == ".py" and not name.startswith(("test_", "_sysconfigdata")):
                parts = path.relative_to(root).with_suffix("").parts
                yield Module((prefix + ".".join(parts)).removesuffix(".__init__"), path)


def _read(
    modules: Sequence[Module], done: int, total: int, progress: Callable[[int, int], None] | None
) -> Iterator[Document]:
    for number, module in enumerate(modules, start=done + 1):
        try:
            data = module.path.read_bytes()
        except OSError:
            data = b""
        yield from _topics(data) if module.name == _TOPICS else _source(module.name, data)
        if progress:
            progress(number, total)


def _source(name: str, data: bytes) -> Iterator[Document]:
    if not SMALLEST <= len(data) <= LARGEST:
        return
    dense = b"".join(data.split())
    letters = len(dense) - len(dense.translate(None, _LETTERS))
    if letters < _PROSE * len(dense):
        return
    try:
        text = data.decode()
    except UnicodeDecodeError:  # a few old modules declare another encoding
        return
    if "\0" not in text:
        yield Document(text.replace("\r\n", "\n"), name)


def _topics(data: bytes) -> Iterator[Document]:
    """Yield the chapters that `help()` prints: a dict of prose in a module of its own."""
    try:
        assignment = ast.parse(data).body[-1]
        topics = ast.literal_eval(assignment.value) if isinstance(assignment, ast.Assign) else {}
    except (SyntaxError, ValueError, IndexError):
        return
    for topic, text in topics.items():
        yield Document(text, f"{_TOPICS}:{topic}")


def _distinct(documents: Iterator[Document]) -> Iterator[Document]:
    seen: set[int] = set()
    for document in documents:
        if (key := hash(document.text)) not in seen:
            seen.add(key)
            yield document
