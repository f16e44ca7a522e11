"""The embedded corpus: nothing of a held-out module stands in training, and it is the same every time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bottega.data import embedded
from bottega.data.documents import Document, read_documents
from bottega.data.near_duplicates import without_copies
from bottega.errors import WorkError

Corpus = tuple[list[Document], list[Document]]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return embedded.embedded_documents()


def test_it_is_large_and_holds_out_one_or_two_percent(corpus: Corpus) -> None:
    training, held = (sum(len(document.text) for document in part) for part in corpus)
    assert 5e6 < training < 100e6  # the standard library alone gives 8 MB
    assert 0.005 < held / training < 0.04


def test_no_module_stands_on_both_sides(corpus: Corpus) -> None:
    training, held = ({document.name.split(":")[0] for document in part} for part in corpus)
    assert training.isdisjoint(held)
    assert all(embedded.by_hash(name, embedded.HELD_OUT) for name in held)
    assert not any(embedded.by_hash(name, embedded.HELD_OUT) for name in training)


def test_no_training_document_copies_a_held_out_one(corpus: Corpus) -> None:
    training, held = corpus
    assert len(list(without_copies(training, held))) == len(training)


def test_what_is_in_it_and_what_is_not(corpus: Corpus) -> None:
    documents = {document.name: document.text for part in corpus for document in part}
    assert "def dedent(" in documents["textwrap"]
    assert "numpy.linalg" in documents and "torch.nn.modules.linear" in documents
    prose = documents["pydoc_data.topics:assert"]
    assert prose.startswith('The "assert" statement') and "topics = {" not in prose
    for name, text in documents.items():
        parts = name.split(".")
        assert not {"test", "tests", "testing", "encodings"} & set(parts), name
        assert not parts[-1].startswith("test_")
        assert "\0" not in text and text.strip()
    texts = list(documents.values())
    assert len(set(texts)) == len(texts)


def test_it_is_the_same_in_every_process() -> None:
    code = (
        "import hashlib\nfrom bottega.data import embedded\nembedded.PACKAGES = ('mpmath',)\n"
        "print(hashlib.sha256(repr(embedded.embedded_documents()).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_progress_counts_every_module_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "PACKAGES", ("mpmath",))
    calls: list[tuple[int, int]] = []
    embedded.embedded_documents(lambda done, total: calls.append((done, total)))
    total = len(list(embedded.find_modules()))
    assert calls == [(done, total) for done in range(1, total + 1)]


def test_tables_stubs_and_other_encodings_are_left_out() -> None:
    code = "def area(side):\n    return side * side\n" * 30
    assert [d.text for d in embedded._source("m", code.encode())] == [code]
    assert not list(embedded._source("m", code[:200].encode()))
    assert not list(embedded._source("m", code.encode() * 200))
    assert not list(embedded._source("m", ("TABLE = [" + "0x1f, 17, " * 200 + "]").encode()))
    assert not list(embedded._source("m", (code + "# caf\xe9").encode("latin-1")))


def test_a_missing_package_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "PACKAGES", ("a_package_that_nobody_installed", "mpmath"))
    names = [module.name for module in embedded.find_modules()]
    assert "textwrap" in names and "mpmath" in names and "mpmath.calculus.quadrature" in names


def test_a_python_without_sources_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded, "PACKAGES", ())
    monkeypatch.setattr(embedded.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(WorkError, match="without its sources; give a text to learn from with --data"):
        embedded.embedded_documents()


def test_it_is_a_source_by_name(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "PACKAGES", ())
    first = next(iter(read_documents(["embedded"])))
    assert first == corpus[0][0]
