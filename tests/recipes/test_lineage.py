"""The benches of the lineage: settings that a folder keeps, the table, and a whole bench of seconds."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bottega.cli import run
from bottega.data import shards
from bottega.data.documents import Document
from bottega.errors import InputError
from bottega.models.recurrent import RecurrentConfig
from bottega.recipes import lineage_text
from bottega.recipes.lineage import markdown, run_each, settle, trained
from bottega.recipes.lineage_translation import task
from bottega.text.tokenizer import Tokenizer


def test_a_folder_keeps_what_it_compares_on(tmp_path: Path) -> None:
    out = tmp_path / "bench"
    settle(out, {"bench": "text", "data": ["a"], "minutes": 1.0})
    settle(out, {"bench": "text", "data": ["a"], "minutes": 1.0})
    with pytest.raises(InputError, match=r"was begun with minutes 1.0; give the same"):
        settle(out, {"bench": "text", "data": ["a"], "minutes": 2.0})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(InputError, match="something else"):
        settle(tmp_path / "other", {"bench": "text"})


def test_what_is_done_is_not_done_again_and_what_failed_is(tmp_path: Path) -> None:
    done: list[str] = []

    def job(name: str, fails: bool = False):
        def work(folder: Path) -> dict:
            done.append(name)
            folder.mkdir(exist_ok=True)
            if fails:
                raise KeyboardInterrupt
            return {"name": name}

        return work

    console = Console(file=io.StringIO())
    with pytest.raises(KeyboardInterrupt):
        run_each(tmp_path, {"first": job("first"), "second": job("second", fails=True)}, 1, console)
    rows = run_each(tmp_path, {"first": job("first"), "second": job("second")}, 1, console)
    assert rows == {"first": {"name": "first"}, "second": {"name": "second"}}
    assert done == ["first", "second", "second"]


def test_the_table_is_markdown_with_numbers_to_the_right() -> None:
    assert markdown(("model", "BLEU"), [("RNN", "1.5"), ("Transformer", "10")]).splitlines() == [
        "| model       | BLEU |",
        "|-------------|-----:|",
        "| RNN         |  1.5 |",
        "| Transformer |   10 |",
    ]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `bottega data prepare` writes it: a small grammar's sentences."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    who, does = ["The master", "An apprentice", "The miller"], ["draws", "grinds", "varnishes"]
    what = ["a hand.", "the colours.", "an old panel.", "nothing."]

    def text(n: int) -> str:
        return " ".join(" ".join(rng.choice(part) for part in (who, does, what)) for _ in range(n))

    documents = [Document(text(30), f"{number}") for number in range(60)]
    tokenizer = Tokenizer.train((d.text for d in documents), 330)
    shards.prepare(documents[:50], tokenizer, folder / "train")
    shards.prepare(documents[50:], tokenizer, folder / "heldout")
    return folder


def test_recurrent_shapes_are_as_large_as_the_gpt() -> None:
    for cell in ("rnn", "lstm", "gru"):
        shape = lineage_text.as_large(RecurrentConfig(4096, cell), 3_000_000)
        assert abs(lineage_text._parameters(shape) / 3_000_000 - 1) < 0.03


def test_an_hmm_has_as_many_parameters_as_it_is_asked_for(prepared: Path) -> None:
    train = shards.TokenShards.open(prepared / "train")
    for parameters in (5_000, 3_000_000):
        states = lineage_text.states_for(parameters, train)
        assert abs(states * (1 + states + train.vocab_size) - parameters) < 2 * states + train.vocab_size


def test_all_are_scored_on_the_same_documents(prepared: Path) -> None:
    text = lineage_text.open_text({prepared: 1.0})
    assert len(text.held_out) == 10
    held = shards.TokenShards.open(prepared / "heldout")
    assert text.held_out_bytes == held.n_bytes
    with pytest.raises(InputError, match="one prepared folder"):
        lineage_text.open_text({prepared: 0.5, prepared / "train": 0.5})


@pytest.mark.slow
def test_a_bench_of_seconds_writes_its_table_and_resumes(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    # An HMM as large as the true GPT would have over a thousand states with so small a vocabulary.
    small = replace(lineage_text.GPT_SHAPE, n_layer=1, n_embd=64, n_inner=128, context_length=64)
    monkeypatch.setattr(lineage_text, "GPT_SHAPE", small)
    out = tmp_path / "bench"
    command = ["lineage", "text", "--data", str(prepared), "--minutes", "0.05", "--out", str(out)]
    assert run(command) == 0
    table = capsys.readouterr().out
    rows = json.loads((out / "results.json").read_text())["models"]
    assert list(rows) == list(lineage_text.NAMES)
    assert all(name in table for name in lineage_text.NAMES.values())
    assert all(0 < row["bits_per_byte"] < 8 for row in rows.values())
    assert (out / "lineage.png").read_bytes().startswith(b"\x89PNG")
    seen = trained(out / "lstm")
    assert seen.curve["tokens"][-1] == seen.tokens and len(seen.curve["bits_per_byte"]) > 1
    written = (out / "gpt" / "result.json").stat().st_mtime_ns
    (out / "lstm" / "result.json").unlink()
    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"].keys() == rows.keys()
    assert (out / "gpt" / "result.json").stat().st_mtime_ns == written
    assert run([*command[:-3], "2", "--out", str(out)]) == 2
    assert "minutes 0.05" in capsys.readouterr().err


@pytest.mark.slow
def test_translators_are_compared_on_the_embedded_pairs(tmp_path: Path, capsys) -> None:
    out = tmp_path / "bench"
    assert run(["lineage", "translation", "--minutes", "0.1", "--out", str(out)]) == 0
    assert "RNN + attention" in capsys.readouterr().out
    results = json.loads((out / "results.json").read_text())
    assert list(results["models"]) == ["rnn", "attention", "transformer"]
    for row in results["models"].values():
        assert sum(bucket["sentences"] for bucket in row["by_length"]) == results["test_sentences"]
    assert (out / "lineage.png").read_bytes().startswith(b"\x89PNG")


def test_embedded_pairs_are_numbers_and_all_else_is_german() -> None:
    assert task(["embedded"], None, None, None).target_language == "digits"
    wanted = task(["multi30k"], None, "fr", None)
    assert (wanted.source_language, wanted.target_language, wanted.vocab_size) == ("en", "fr", 10_000)
