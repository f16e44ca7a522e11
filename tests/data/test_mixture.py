"""Mixtures: GPT-3's arithmetic of epochs, and draws that any rank and any resumed run repeat."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.data.documents import Document
from bottega.data.mixture import Mixture, epochs_elapsed
from bottega.data.shards import prepare
from bottega.errors import InputError
from bottega.nn.loss import IGNORE
from bottega.text.tokenizer import Tokenizer

SMALL = st.integers(1, 4)
WEIGHTS = {"prose": 0.6, "verse": 0.3, "letters": 0.1}


@pytest.fixture(scope="module")
def sources(make_shards):
    """Three sources whose documents tell which they are of, of very different sizes."""
    letters = {"prose": "ab", "verse": "cd", "letters": "ef"}
    sizes = {"prose": 90, "verse": 12, "letters": 5}
    return {
        name: make_shards([f"{letters[name]} " * (i % 9 + 3) for i in range(sizes[name])]) for name in sizes
    }


def test_gpt3s_table_of_epochs():
    """Brown et al. (2020), table 2.2, in billions: Common Crawl, WebText2, Books1, Books2, Wikipedia."""
    epochs = epochs_elapsed([410, 19, 12, 55, 3], [60, 22, 8, 8, 3], 300)
    assert [round(value, 2) for value in epochs] == [0.43, 3.44, 1.98, 0.43, 2.97]
    # The table prints these, from weights that it rounds to whole per cents (its column adds up to 101).
    printed = [0.44, 2.9, 1.9, 0.43, 3.4]
    assert all(abs(ours / theirs - 1) < 0.2 for ours, theirs in zip(epochs, printed, strict=True))


def test_epochs_elapsed_refuses_what_cannot_be():
    for tokens, weights in (
        ([1, 2], [1]),
        ([0, 1], [1, 1]),
        ([1, 1], [0, 0]),
        ([1, 1], [-1, 2]),
        ([1], [float("nan")]),
    ):
        with pytest.raises(InputError):
            epochs_elapsed(tokens, weights, 10)


@pytest.fixture(scope="module")
def source_of(small_tokenizer) -> Callable[[torch.Tensor], str]:
    def name(row: torch.Tensor) -> str:
        text = small_tokenizer.decode(row[row != IGNORE].tolist()).replace("<|endoftext|>", "")
        return {"ab": "prose", "cd": "verse", "ef": "letters"}["".join(sorted(set(text) - {" "}))]

    return name


def test_rows_come_from_the_sources_by_weight(sources, source_of):
    mixture = Mixture(sources, WEIGHTS, 8, 50, seed=1)
    names = [source_of(row) for _ in range(40) for row in mixture.next_batch()["ids"]]
    for name, weight in WEIGHTS.items():
        spread = (weight * (1 - weight) / len(names)) ** 0.5
        assert abs(names.count(name) / len(names) - weight) < 4 * spread
        loader = mixture.loaders[name]
        assert loader.position == names.count(name)
        assert mixture.epochs[name] == names.count(name) / loader.windows
    assert mixture.epochs["letters"] > 2  # the small source is gone through several times …
    expected = epochs_elapsed(
        [mixture.loaders[name].windows for name in mixture.names], mixture.weights, mixture.position
    )
    assert np.allclose(list(mixture.epochs.values()), expected, rtol=0.25)  # … as often as was planned


def test_each_source_is_read_as_by_itself(sources, source_of):
    mixture = Mixture(sources, WEIGHTS, 8, 10, seed=1)
    rows = torch.cat([mixture.next_batch()["targets"] for _ in range(12)])
    for name, loader in mixture.loaders.items():
        mine = [row for row in rows if source_of(row) == name]
        assert torch.equal(torch.stack(mine), loader.rows(np.arange(loader.position))["targets"])


@settings(max_examples=25, deadline=None)
@given(
    per_rank=st.integers(1, 5),
    world=st.integers(1, 4),
    before=st.integers(0, 9),
    seed=st.integers(0, 2**64 - 1),
)
def test_ranks_agree_and_a_resumed_mixture_goes_on(sources, per_rank, world, before, seed):
    def mixture(rank: int = 0, world_size: int = 1) -> Mixture:
        return Mixture(sources, WEIGHTS, 8, per_rank * world, seed=seed, rank=rank, world_size=world_size)

    alone = mixture()
    for _ in range(before):
        alone.next_batch()
    ranks = [mixture(rank, world) for rank in range(world)]
    for rank in ranks:
        rank.load_state_dict(json.loads(json.dumps(alone.state_dict())))
    for _ in range(3):
        whole, parts = alone.next_batch(), [rank.next_batch() for rank in ranks]
        for name in ("ids", "targets"):
            assert torch.equal(torch.cat([part[name] for part in parts]), whole[name])


def test_draws_do_not_depend_on_the_size_of_a_batch(sources):
    large, small = (Mixture(sources, WEIGHTS, 8, size, seed=3) for size in (12, 4))
    assert torch.equal(large.next_batch()["ids"], torch.cat([small.next_batch()["ids"] for _ in range(3)]))


def test_weights_need_not_add_up_and_may_be_zero(sources):
    mixture = Mixture(sources, {"prose": 3, "verse": 1, "letters": 0}, 8, 40)
    for _ in range(10):
        mixture.next_batch()
    assert mixture.epochs["letters"] == 0 and mixture.epochs["verse"] > 0


def test_wrong_mixtures_are_refused_in_one_line(sources, tmp_path):
    tokenizer = Tokenizer.train(["entirely different words " * 5], 280)
    foreign = prepare([Document("entirely different " * 20, "foreign")], tokenizer, tmp_path / "foreign")
    wrong = [
        (({}, {}), "none"),
        ((sources, {"prose": 1}), "one weight for each source"),
        ((sources, dict.fromkeys(sources, 0)), "weights are"),
        ((sources, WEIGHTS | {"verse": -1}), "weights are"),
        ((sources | {"verse": foreign}, WEIGHTS), "same tokenizer"),
    ]
    for (shards, weights), message in wrong:
        with pytest.raises(InputError, match=message) as error:
            Mixture(shards, weights, 8, 4)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="source letters: the corpus has"):
        Mixture(sources, WEIGHTS, 500, 4)


def test_a_cursor_of_another_mixture_is_refused(sources):
    state = Mixture(sources, WEIGHTS, 8, 4, seed=1).state_dict()
    two = {name: sources[name] for name in ("prose", "verse")}
    for other in (
        Mixture(sources, WEIGHTS, 8, 4, seed=2),
        Mixture(sources, WEIGHTS | {"verse": 0.5}, 8, 4, seed=1),
        Mixture(two, {"prose": 0.5, "verse": 0.5}, 8, 4, seed=1),
    ):
        with pytest.raises(InputError) as error:
            other.load_state_dict(state)
        assert "\n" not in str(error.value) and other.position == 0
