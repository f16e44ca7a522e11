"""`bottega show` and `bottega lineage` find what they are asked for, each with help of its own."""

from __future__ import annotations

import importlib

import pytest

from bottega.cli import run
from bottega.cli.lineage import BENCHES
from bottega.cli.show import PICTURES

WORDS = {"show": PICTURES, "lineage": BENCHES}


@pytest.mark.parametrize(("verb", "what"), [(verb, what) for verb, words in WORDS.items() for what in words])
def test_each_explains_itself_with_an_example(verb: str, what: str, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        importlib.import_module(f"bottega.cli.{verb}").main([what, "--help"])
    out = capsys.readouterr().out
    assert left.value.code == 0
    assert f"bottega {verb} {what} " in out.split("xample", 1)[1]


@pytest.mark.parametrize(("verb", "words"), WORDS.items())
def test_an_unknown_word_is_refused_with_those_that_there_are(
    verb: str, words: dict[str, str], capsys
) -> None:
    assert run([verb, "dreams"]) == 2
    assert capsys.readouterr().err.strip().endswith("expected one of: " + ", ".join(words))
    with pytest.raises(SystemExit) as left:
        run([verb])
    assert left.value.code == 2
    usage = capsys.readouterr().out
    assert all(f"  {what} " in usage and line in usage for what, line in words.items())
