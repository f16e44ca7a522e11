"""Analogies on vectors whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from bottega.evaluation.analogies import RELATIONS, measure_analogies


class Planted:
    """Words whose second of a pair lies in one direction from the first, but for those in `turned`."""

    def __init__(self, relation: str, turned: set[str]) -> None:
        words = RELATIONS[relation].split()
        rng = np.random.default_rng(0)
        base = rng.normal(size=(len(words) // 2, 60))
        offset = 3 * rng.normal(size=60)
        second = np.where([[word in turned] for word in words[1::2]], -1, 1) * offset + base
        self.ids = {word: number for number, word in enumerate([*words[::2], *words[1::2]])}
        self.vectors = np.concatenate([base, second]).astype(np.float32)


def test_parallel_pairs_are_all_right_and_a_turned_one_spoils_its_questions() -> None:
    whole = measure_analogies(Planted("capital", set()))
    n = len(RELATIONS["capital"].split()) // 2
    assert whole.asked == {"capital": n * (n - 1)} and whole.share == 1
    spoiled = measure_analogies(Planted("capital", {"france"}))
    assert spoiled.asked == whole.asked
    assert spoiled.right["capital"] <= (n - 1) * (n - 2) + 2


def test_only_known_words_are_asked_for() -> None:
    model = Planted("woman", set())
    del model.ids["king"]
    n = len(RELATIONS["woman"].split()) // 2 - 1
    assert measure_analogies(model).asked == {"woman": n * (n - 1)}
    model.ids.clear()
    nothing = measure_analogies(model)
    assert nothing.asked == {} and nothing.share == 0


@pytest.mark.parametrize("relation", RELATIONS)
def test_every_relation_is_made_of_pairs_of_distinct_words(relation: str) -> None:
    words = RELATIONS[relation].split()
    pairs = list(zip(words[::2], words[1::2], strict=True))
    assert len(set(pairs)) == len(pairs) > 10
    assert all(a != b for a, b in pairs)
