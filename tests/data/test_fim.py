"""Filling in the middle: what is rearranged, where it is cut, and that nothing else changes."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.data.fim import GROWTH, FillInMiddle
from bottega.data.loader import PackedLoader
from bottega.data.mixture import Mixture
from bottega.errors import InputError
from bottega.nn.loss import IGNORE
from bottega.text.tokenizer import Tokenizer

T = 48
TEXTS = st.lists(st.text("abcde fghé東", min_size=1, max_size=150), min_size=5, max_size=30)
UNIFORM = st.floats(0, 1, exclude_max=True)


@pytest.fixture(scope="module")
def fim(small_tokenizer: Tokenizer) -> FillInMiddle:
    return FillInMiddle(small_tokenizer)


def parts(fim: FillInMiddle, ids: list[int]) -> tuple[list[int], list[int], list[int]]:
    """What stands after each of the three special tokens; the end of text is left out."""
    prefix, suffix, middle = (ids.index(id) for id in (fim.prefix, fim.suffix, fim.middle))
    assert prefix < suffix < middle and ids[-1] == fim.end_of_text
    return ids[prefix + 1 : suffix], ids[suffix + 1 : middle], ids[middle + 1 : -1]


@given(text=st.text("abc defé東🎨\n", max_size=40), noise=st.tuples(UNIFORM, UNIFORM, UNIFORM))
def test_the_parts_make_the_text_again(small_tokenizer, fim, text, noise):
    changed = fim.rearrange(small_tokenizer.encode(text), noise)
    prefix, suffix, middle = (small_tokenizer.decode_bytes(part) for part in parts(fim, changed))
    assert (prefix + middle + suffix).decode() == text
    assert noise[2] < 0.5 or not prefix  # suffix first: the prefix is told with the middle


def test_cuts_fall_on_every_character_alike_and_inside_tokens(small_tokenizer, fim):
    text = "the apprentice grinds é東"
    ids = small_tokenizer.encode(text)
    borders = {len(small_tokenizer.decode_bytes(ids[:i])) for i in range(len(ids) + 1)}
    rng, cuts = np.random.default_rng(1), Counter()
    draws = 4000
    for first, second in rng.random((draws, 2)).tolist():
        prefix, _, middle = parts(fim, fim.rearrange(ids, (first, second, 0.0)))
        begin = len(small_tokenizer.decode_bytes(prefix))
        cuts.update((begin, begin + len(small_tokenizer.decode_bytes(middle))))
    characters = {len(text[:i].encode()) for i in range(len(text) + 1)}
    assert set(cuts) == characters and characters - borders
    expected = 2 * draws / len(characters)
    assert all(0.75 * expected < cuts[place] < 1.25 * expected for place in characters)


def test_each_part_is_encoded_as_a_client_would_encode_it(small_tokenizer, fim):
    text = "the master paints the angel"
    prefix, suffix, middle = parts(fim, fim.rearrange(small_tokenizer.encode(text), (0.2, 0.7, 0.1)))
    for part in (prefix, suffix, middle):
        assert part == small_tokenizer.encode(small_tokenizer.decode(part))


def test_pieces_that_begin_or_end_inside_a_character_lose_nothing(small_tokenizer, fim):
    text = "東 🎨 東".encode()
    ids = small_tokenizer.encode_bytes(text)
    assert ids == small_tokenizer.encode(text.decode())
    for noise in np.random.default_rng(0).random((50, 3)).tolist():
        prefix, suffix, middle = parts(fim, fim.rearrange(ids[1:-1], noise))
        assert small_tokenizer.decode_bytes([*prefix, *middle, *suffix]) == text[1:-1]


def plain_rows(loader: PackedLoader, positions: np.ndarray) -> list[list[int]]:
    """Each row's ids with its targets' last one, up to the padding."""
    batch = loader.rows(positions)
    rows = []
    for ids, targets in zip(batch["ids"].tolist(), batch["targets"].tolist(), strict=True):
        last = max(i for i, target in enumerate(targets) if target != IGNORE)
        rows.append([*ids[: last + 1], targets[last]])
    return rows


def unarranged(tokenizer: Tokenizer, fim: FillInMiddle, row: list[int]) -> str:
    """The documents' text of a row, their ends as |."""
    text, end = b"", fim.end_of_text
    while row:
        piece, row = (row[: row.index(end) + 1], row[row.index(end) + 1 :]) if end in row else (row, [])
        if fim.prefix in piece:
            prefix, suffix, middle = parts(fim, piece)
            text += tokenizer.decode_bytes([*prefix, *middle, *suffix]) + b"|"
        else:
            text += tokenizer.decode_bytes(piece).replace(b"<|endoftext|>", b"|")
    return text.decode(errors="replace")


@settings(max_examples=40, deadline=None)
@given(texts=TEXTS, rate=st.floats(0.05, 1), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 2))
def test_an_epoch_holds_each_text_once_in_windows_that_fit(
    make_shards, small_tokenizer, fim, texts, rate, seed, epoch
):
    shards = make_shards(texts)
    if shards.n_tokens + shards.n_documents < T:
        return
    loader = PackedLoader(shards, T, 1, seed=seed, fim_rate=rate)
    laid = loader._load(epoch)
    order = np.argsort(laid.windows)  # the windows in the order of the stream
    rows = plain_rows(loader, order + epoch * loader.windows)
    stream = laid.stream.read(np.array([0]), np.array([laid.stream.length]))
    for w, row in enumerate(rows):
        plain = stream[laid.bounds[w] : laid.bounds[w + 1] + 1].tolist()
        assert len(row) <= T + 1
        if not laid.fim[w]:
            assert row == plain
            continue
        text = small_tokenizer.decode(plain[1:]).replace("<|endoftext|>", "|")
        told = unarranged(small_tokenizer, fim, row if row[0] == fim.prefix else row[1:])
        assert told.rstrip("|") == text.rstrip("|")  # a document that the window cuts ends there
    assert laid.bounds[0] == 0 and laid.bounds[-1] == laid.stream.length - 1


def test_a_long_text_is_rearranged_in_nearly_every_window_of_its_share(make_shards, fim):
    shards = make_shards(["the apprentice grinds the colours, the master paints the angel. " * 400])
    for rate in (0.25, 1.0):
        loader = PackedLoader(shards, T, 1, seed=3, fim_rate=rate)
        batch = loader.rows(np.arange(loader.windows))
        rearranged = ((batch["ids"] == fim.middle).sum(1) > 0).float().mean()
        assert rate - 0.05 < rearranged < rate + 0.02
        assert batch["ids"][:, 0][(batch["ids"] == fim.middle).any(1)].eq(fim.prefix).all()
        assert not torch.isin(batch["targets"], torch.tensor(fim.special_ids)).any()
    ends = (batch["targets"] == fim.end_of_text).sum(1)
    assert (ends >= 1).float().mean() > 0.95  # each middle ends, where the document goes on too


@settings(max_examples=20, deadline=None)
@given(rate=st.floats(0.1, 1), world=st.integers(1, 3), before=st.integers(0, 30))
def test_ranks_and_interruption_change_nothing(make_shards, rate, world, before):
    shards = make_shards([f"document {i}, a text of some length. " * (i % 9 + 1) for i in range(60)])
    alone = PackedLoader(shards, T, world, seed=9, fim_rate=rate)
    for _ in range(before):
        alone.next_batch()
    numbers = range(world)
    ranks = [PackedLoader(shards, T, world, seed=9, fim_rate=rate, rank=r, world_size=world) for r in numbers]
    for rank in ranks:
        rank.load_state_dict(json.loads(json.dumps(alone.state_dict())))
    for _ in range(3):
        whole, shares = alone.next_batch(), [rank.next_batch() for rank in ranks]
        for name in ("ids", "targets"):
            assert torch.equal(torch.cat([share[name] for share in shares]), whole[name])


def test_cuts_differ_between_epochs_and_seeds(make_shards):
    shards = make_shards(["the apprentice grinds the colours, the master paints the angel. " * 100])
    rows = {}
    for seed in (0, 1):
        loader = PackedLoader(shards, T, 1, seed=seed, fim_rate=1.0)
        for epoch in (0, 1):
            first = int(np.flatnonzero(loader._load(epoch).windows == 0)[0])
            rows[seed, epoch] = plain_rows(loader, np.array([first + epoch * loader.windows]))[0]
    assert len({tuple(row) for row in rows.values()}) == 4


@settings(max_examples=30, deadline=None)
@given(texts=TEXTS, rate=st.floats(0.05, 1), share=st.floats(0, 1))
def test_what_was_consumed_is_plain_text(make_shards, texts, rate, share):
    shards = make_shards(texts)
    if shards.n_tokens + shards.n_documents < T:
        return
    loader = PackedLoader(shards, T, 1, seed=2, fim_rate=rate)
    positions = int(share * loader.windows)
    laid = loader._load(0)
    stream = laid.stream.read(np.array([0]), np.array([laid.stream.length])).tolist()
    expected = Counter()
    for w in laid.windows[:positions]:
        expected.update(stream[laid.bounds[w] + 1 : laid.bounds[w + 1] + 1])
    assert Counter(id for run in loader.consumed(positions) for id in run[1:].tolist()) == expected
    (whole,) = loader.consumed(loader.windows)
    assert whole.tolist() == stream


def test_a_mixture_rearranges_too(make_shards, fim):
    sources = {name: make_shards([f"{name} " * 300]) for name in ("verse", "prose")}
    mixture = Mixture(sources, {"verse": 1, "prose": 1}, T, 8, fim_rate=1.0)
    batch = mixture.next_batch()
    assert ((batch["ids"] == fim.middle).sum(1) > 0).sum() >= 6


def test_what_cannot_be_is_refused(make_shards, small_tokenizer, tmp_path):
    shards = make_shards(["a text that is long enough. " * 30])
    for rate in (-0.1, 1.5):
        with pytest.raises(InputError, match="fim_rate"):
            PackedLoader(shards, T, 1, fim_rate=rate)
    with pytest.raises(InputError, match=f"at least {4 * GROWTH}"):
        PackedLoader(shards, 16, 1, fim_rate=0.5)
    state = PackedLoader(shards, T, 1, fim_rate=0.5).state_dict()
    with pytest.raises(InputError, match="fim_rate"):
        PackedLoader(shards, T, 1).load_state_dict(state)
    definition = json.loads(small_tokenizer.to_json())
    definition["added_tokens"] = definition["added_tokens"][:1]
    for name in ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|im_start|>", "<|im_end|>"):
        del definition["model"]["vocab"][name]
    with pytest.raises(InputError, match="fim_prefix"):
        FillInMiddle(Tokenizer(definition))


def test_an_old_cursor_goes_on_without_rearranging(make_shards):
    loader = PackedLoader(make_shards(["a text that is long enough. " * 30]), T, 1)
    state = loader.state_dict()
    del state["fim_rate"]
    loader.load_state_dict(state)
    with pytest.raises(InputError, match="fim_rate"):
        PackedLoader(loader.shards, T, 1, fim_rate=0.5).load_state_dict(state)
