"""`bottega show` finds its pictures, each with help of its own."""

from __future__ import annotations

import importlib

import pytest

from bottega.cli import run
from bottega.cli.show import PICTURES, usage


@pytest.mark.parametrize("what", PICTURES)
def test_every_picture_explains_itself_with_an_example(what: str, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        importlib.import_module("bottega.cli.show").main([what, "--help"])
    out = capsys.readouterr().out
    assert left.value.code == 0
    assert f"bottega show {what} " in out.split("xample", 1)[1]
    assert f"  {what} " in usage() and PICTURES[what] in usage()


def test_an_unknown_picture_is_refused_with_those_that_there_are(capsys) -> None:
    assert run(["show", "dreams"]) == 2
    assert capsys.readouterr().err.strip().endswith("expected one of: " + ", ".join(PICTURES))
    with pytest.raises(SystemExit) as left:
        run(["show"])
    assert left.value.code == 2
