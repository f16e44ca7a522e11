"""Stop strings are found however the text is cut into pieces, and nothing of them is ever shown."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bottega.errors import InputError
from bottega.text.stopping import StopStrings


def run(pieces: list[str], stops: list[str]) -> tuple[list[str], str | None]:
    stream = StopStrings(stops)
    shown = [stream.push(piece) for piece in pieces]
    return [*shown, stream.flush()], stream.found


def test_held_back_across_pieces() -> None:
    assert run(["one\n", "\ntwo"], ["\n\n"]) == (["one", "", ""], "\n\n")
    assert run(["one\n", "two"], ["\n\n"]) == (["one", "\ntwo", ""], None)
    assert run(["one\n"], ["\n\n"]) == (["one", "\n"], None)


def test_the_earliest_wins_and_after_it_nothing_comes() -> None:
    assert run(["abcdef", "ghi"], ["ef", "cd"]) == (["ab", "", ""], "cd")
    assert run(["abcdef"], ["cde", "cd"]) == (["ab", ""], "cd")
    assert run(["abcdef"], ["d", "cd"]) == (["ab", ""], "cd")


def test_without_stops_nothing_is_held() -> None:
    assert run(["a", "", "b"], []) == (["a", "", "b", ""], None)


def test_an_empty_stop_is_refused() -> None:
    with pytest.raises(InputError, match="must not be empty"):
        StopStrings(["x", ""])


@given(st.text("ab", max_size=20), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), st.data())
def test_any_cut_shows_the_same(text: str, stops: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    shown, found = run([text[a:b] for a, b in pairwise([0, *cuts, len(text)])], stops)
    matches = [(text.find(stop) + len(stop), text.find(stop), stop) for stop in stops if stop in text]
    _, end, expected = min(matches, default=(0, len(text), None))
    assert ("".join(shown), found) == (text[:end], expected)
