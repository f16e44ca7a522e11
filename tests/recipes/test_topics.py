"""`bottega train lda` and `bottega show topics`: from documents to topics to a page, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bottega.cli import run
from bottega.data.documents import Document
from bottega.errors import InputError, Stopped
from bottega.models.abilities import Encodes
from bottega.models.lda import LDA, LDAConfig
from bottega.models.lda_gibbs import Gibbs
from bottega.models.load import load
from bottega.recipes.topics import read_run, train_topics, write_run

SUBJECTS = {
    "Painting": "fresco pigment canvas portrait altar brush painter varnish",
    "War": "cannon siege cavalry regiment trench battle fortress musket",
    "Heavens": "comet orbit planet telescope eclipse lens galaxy meteor",
}
SMALL = ["--n-topics", "3", "--min-documents", "2", "--max-share", "1.0"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ninety articles of a title and forty words, as the catalog's are: a title, an empty line, prose."""
    rng = np.random.default_rng(0)
    file = tmp_path_factory.mktemp("corpus") / "articles.jsonl"
    lines = []
    for number in range(90):
        title = list(SUBJECTS)[number % 3]
        prose = " ".join(rng.choice(SUBJECTS[title].split(), 40))
        lines.append(json.dumps({"text": f"{title} {number}\n\n{prose} the of and"}))
    file.write_text("\n".join(lines))
    return file


def train(preset: str, data: Path | str, out: Path, *more: str) -> int:
    return run(["train", preset, "--data", str(data), "--out", str(out), *SMALL, *more])


@pytest.mark.parametrize(("preset", "steps"), [("lda", "--sweeps"), ("lda-online", "--passes")])
def test_from_documents_to_topics(preset: str, steps: str, corpus: Path, tmp_path: Path, capsys) -> None:
    assert train(preset, corpus, tmp_path / "run", steps, "60") == 0
    said = capsys.readouterr().out
    assert "3 topics" in said and "held-out perplexity" in said and "NPMI" in said
    model = load(tmp_path / "run")
    assert isinstance(model, LDA) and isinstance(model, Encodes)
    read = read_run(tmp_path / "run")
    assert len(read.titles) == len(read.mixtures) and np.allclose(read.mixtures.sum(1), 1, atol=1e-5)
    assert all(title.split()[0] in SUBJECTS for title in read.titles)
    assert not any("\n" in excerpt or not excerpt for excerpt in read.excerpts)
    if preset == "lda":  # online Bayes may stay where it came to rest, on so little
        best = [read.titles[document].split()[0] for document in read.mixtures.argmax(0)]
        assert sorted(best) == sorted(SUBJECTS)

    assert run(["show", "topics", str(tmp_path / "run"), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "telescope" in page and "Heavens" in page
    assert run(["show", "topics", str(tmp_path / "run"), "--out", str(tmp_path / "map.png")]) == 0
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert run(["show", "topics", str(tmp_path / "run"), "--out", str(tmp_path / "map.doc")]) == 2
    assert "or a page, .html" in capsys.readouterr().err


def test_ctrl_c_leaves_topics_that_open(corpus: Path, tmp_path: Path, monkeypatch) -> None:
    import bottega.models.lda_gibbs as sampler

    swept = sampler.sweep
    calls: list[int] = []

    def sweep(*arguments: object) -> None:
        calls.append(1)
        if len(calls) > 7:
            raise KeyboardInterrupt
        swept(*arguments)

    monkeypatch.setattr(sampler, "sweep", sweep)
    shape = LDAConfig(3, min_documents=2, max_share=1.0)
    with pytest.raises(Stopped, match=r"sweep 7 of 50; the topics so far are in .*starts again"):
        train_topics(shape, (str(corpus),), tmp_path / "run", Gibbs(50))
    assert read_run(tmp_path / "run").model.config.n_topics == 3


def test_real_articles(shared_data: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("BOTTEGA_DATA", str(shared_data))
    shape = LDAConfig(20, max_words=3000)
    said = train_topics(shape, ("wikitext2-valid",), tmp_path / "run", Gibbs(20, average=5))
    assert "20 topics" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty; expected text"),
        (b" \n\n", "holds no text"),
        (b"one short line", "too small to hold anything out"),
        (b"caf\xe9 " * 2000, "UTF-8"),
        (" ".join(map(str, range(5000))).encode(), "no word is left to count"),
    ],
)
def test_documents_that_say_nothing(content: bytes, said: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "text.txt").write_bytes(content)
    assert train("lda", tmp_path / "text.txt", tmp_path / "run", "--sweeps", "2") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.json").exists()


def test_titles_may_hold_what_unicode_calls_a_lines_end(tmp_path: Path) -> None:
    documents = [Document(f"One\u2028title\x85{n}\nvarnish", str(n)) for n in range(2)]
    model = LDA.fit_words([["varnish"]] * 2, LDAConfig(2, min_documents=1, max_share=1), Gibbs(1))
    write_run(tmp_path, model, documents, np.full((2, 2), 0.5))
    assert read_run(tmp_path).titles == ["One\u2028title\x850", "One\u2028title\x851"]


def test_a_folder_that_holds_something_else_is_left_alone(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a file"):
        train_topics(LDAConfig(3), (str(corpus),), corpus, Gibbs(1))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "run" / "step-5").mkdir(parents=True)
    with pytest.raises(InputError, match="another kind of model"):
        train_topics(LDAConfig(3), (str(corpus),), tmp_path / "run", Gibbs(1))
    with pytest.raises(InputError, match="another kind of model"):
        train_topics(LDAConfig(3), (str(corpus),), tmp_path, Gibbs(1))


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("documents.jsonl", None, "lacks documents"),
        ("documents.jsonl", b"{", "damaged"),
        ("documents.jsonl", b'{"title": "A", "text": ""}', "damaged"),
        ("documents.jsonl", b"[1]\n", "damaged"),
        ("mixtures.safetensors", b"\0" * 30, "damaged"),
        ("mixtures.safetensors", None, "lacks"),
    ],
)
def test_damaged_runs(file: str, content: bytes | None, said: str, corpus: Path, tmp_path: Path) -> None:
    train_topics(LDAConfig(2, min_documents=2), (str(corpus),), tmp_path / "run", Gibbs(1))
    (tmp_path / "run" / file).unlink()
    if content is not None:
        (tmp_path / "run" / file).write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_run(tmp_path / "run")
