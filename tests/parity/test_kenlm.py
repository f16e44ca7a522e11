"""The n-gram model beside KenLM's lmplz, built from its source: needs cmake, a C++ compiler and Boost."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bottega.models.ngram import NgramModel

VERSION = "0.3.0"
END = 0
UNSEEN = 500  # tokens of the vocabulary that never occur, as in a tokenizer trained on more text


@pytest.fixture(scope="module")
def kenlm() -> Path:
    """The folder with lmplz and query; built once a machine, skipped with the reason where it cannot be."""
    cache = Path(tempfile.gettempdir()) / f"kenlm-{VERSION}-oracle"
    if (cache / "bin" / "lmplz").exists():
        return cache / "bin"
    if not shutil.which("cmake"):
        pytest.skip("needs cmake, a C++ compiler and Boost's development files to build kenlm")
    with tempfile.TemporaryDirectory() as work:
        download = ["download", "--no-deps", "--no-binary", "kenlm", f"kenlm=={VERSION}", "--dest", work]
        build_or_skip([sys.executable, "-m", "pip", *download])
        with tarfile.open(Path(work, f"kenlm-{VERSION}.tar.gz")) as archive:
            archive.extractall(work, filter="data")
        source, build = Path(work, f"kenlm-{VERSION}"), Path(work, "build")
        options = ["-DCMAKE_BUILD_TYPE=Release", "-DENABLE_INTERPOLATE=OFF"]
        build_or_skip(["cmake", "-S", str(source), "-B", str(build), *options])
        build_or_skip(["cmake", "--build", str(build), "--target", "lmplz", "query"])
        cache.mkdir(exist_ok=True)
        shutil.move(build / "bin", cache / "bin")
    return cache / "bin"


def build_or_skip(command: Sequence[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        said = [line for line in (result.stderr or result.stdout).splitlines() if line.strip()]
        pytest.skip(f"kenlm cannot be built here: {' '.join(command[:4])} … said: {said[-1] if said else ''}")


class Corpus:
    """Paragraphs of the language reference that Python carries, as rows of token ids from 1, in two parts."""

    def __init__(self) -> None:
        from pydoc_data.topics import topics

        paragraphs = "\n\n".join(topics.values()).split("\n\n")
        rows = [re.findall(r"\w+|[^\w\s]", paragraph) for paragraph in paragraphs]
        ids = {word: i for i, word in enumerate(sorted({word for row in rows for word in row}), 1)}
        self.train: list[np.ndarray] = []
        self.held_out: list[np.ndarray] = []
        for paragraph, row in zip(paragraphs, rows, strict=True):
            part = self.held_out if hashlib.sha256(paragraph.encode()).digest()[0] < 26 else self.train
            if row:
                part.append(np.array([ids[word] for word in row]))
        self.vocab_size = len(ids) + 1 + UNSEEN


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus()


def write(path: Path, documents: list[np.ndarray]) -> None:
    path.write_text("".join(" ".join(f"t{token}" for token in ids) + "\n" for ids in documents))


def lmplz(kenlm: Path, folder: Path, documents: list[np.ndarray], order: int, *options: str) -> Path:
    write(folder / "train.txt", documents)
    arpa = folder / "kenlm.arpa"
    command = [kenlm / "lmplz", "-o", order, "-S", "512M", "-T", folder, *options]
    command += ["--text", folder / "train.txt", "--arpa", arpa]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return arpa


def query(kenlm: Path, folder: Path, arpa: Path, documents: list[np.ndarray]) -> float:
    """KenLM's perplexity, unknown words included."""
    write(folder / "held-out.txt", documents)
    with (folder / "held-out.txt").open() as text:
        result = subprocess.run(
            [kenlm / "query", "-v", "summary", arpa], stdin=text, capture_output=True, text=True, check=True
        )
    found = re.search(r"Perplexity including OOVs:\s*(\S+)", result.stdout)
    assert found, result.stdout
    return float(found[1])


def perplexity(model: NgramModel, documents: list[np.ndarray]) -> float:
    scores = [model.score(document) for document in documents]
    return math.exp(-sum(score.total for score in scores) / sum(score.count for score in scores))


@pytest.mark.slow
@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_perplexity_and_both_directions_of_arpa(
    kenlm: Path, corpus: Corpus, tmp_path: Path, order: int
) -> None:
    # --vocab_pad makes its vocabulary as large as ours: else it holds only the words of the training text.
    arpa = lmplz(kenlm, tmp_path, corpus.train, order, "--vocab_pad", str(corpus.vocab_size))
    theirs = query(kenlm, tmp_path, arpa, corpus.held_out)
    model = NgramModel.fit(corpus.train, order, corpus.vocab_size, END)
    ours = perplexity(model, corpus.held_out)
    print(f"order {order}: perplexity {ours:.4f}, of kenlm {theirs:.4f}, apart {ours / theirs - 1:+.1e}")
    assert ours == pytest.approx(theirs, rel=1e-5)

    back = NgramModel.from_arpa(arpa, lambda word: int(word[1:]), corpus.vocab_size, END)
    assert perplexity(back, corpus.held_out) == pytest.approx(theirs, rel=1e-5)
    for one, other in zip(model.levels[1:], back.levels[1:], strict=True):
        np.testing.assert_array_equal(one.keys, other.keys)
        np.testing.assert_allclose(one.log_prob, other.log_prob, atol=2e-5)

    model.to_arpa(tmp_path / "ours.arpa", lambda token: f"t{token}")
    assert query(kenlm, tmp_path, tmp_path / "ours.arpa", corpus.held_out) == pytest.approx(theirs, rel=1e-5)


@pytest.mark.slow
def test_a_closed_vocabulary_differs_only_by_the_unknown_word(
    kenlm: Path, corpus: Corpus, tmp_path: Path
) -> None:
    # Where every token occurs, kenlm's vocabulary has <unk> beside ours: 1/(V+1) against 1/V at the bottom.
    tokens = 60
    train = [document % tokens + 1 for document in corpus.train]
    held_out = [document % tokens + 1 for document in corpus.held_out]
    arpa = lmplz(kenlm, tmp_path, train, 4, "--discount_fallback")
    ours = perplexity(NgramModel.fit(train, 4, tokens + 1, END), held_out)
    assert ours == pytest.approx(query(kenlm, tmp_path, arpa, held_out), rel=1e-3)


@pytest.mark.slow
def test_tiny_text_falls_back_to_the_same_discounts(kenlm: Path, tmp_path: Path) -> None:
    train = [np.array(row) for row in ([1, 2, 3], [1, 2], [2, 2, 1, 4], [5, 1, 2, 3])]
    held_out = [np.array(row) for row in ([1, 2, 3, 4], [5, 5], [4, 3, 2, 1, 2])]
    arpa = lmplz(kenlm, tmp_path, train, 3, "--discount_fallback", "--vocab_pad", "8")
    ours = perplexity(NgramModel.fit(train, 3, 8, END), held_out)
    assert ours == pytest.approx(query(kenlm, tmp_path, arpa, held_out), rel=1e-5)
