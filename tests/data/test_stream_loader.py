"""Streams: every token once an epoch, each row goes on where it ended, whatever the ranks."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.data.stream_loader import StreamLoader
from bottega.errors import InputError
from bottega.nn.loss import IGNORE

TEXTS = st.lists(st.text("abcde fghé", min_size=1, max_size=60), min_size=1, max_size=40)
SIZES = st.integers(1, 13)


@settings(max_examples=40, deadline=None)
@given(texts=TEXTS, context=SIZES, batch=SIZES, seed=st.integers(0, 2**64 - 1))
def test_rows_go_on_and_every_token_is_a_target_once_an_epoch(make_shards, texts, context, batch, seed):
    shards = make_shards(texts)
    targets = shards.n_tokens + shards.n_documents
    if targets < batch * context:
        with pytest.raises(InputError, match=f"{targets:,} tokens"):
            StreamLoader(shards, context, batch, seed=seed)
        return
    loader = StreamLoader(shards, context, batch, seed=seed)
    corpus = [
        i for n in range(shards.n_documents) for i in [*shards.document(n).tolist(), shards.end_of_text]
    ]
    for _ in range(2):
        steps = [loader.next_batch() for _ in range(loader.steps)]
        assert [bool(step["fresh"].all()) for step in steps] == [True] + [False] * (len(steps) - 1)
        inputs, outputs = (torch.cat([step[name] for step in steps], 1) for name in ("ids", "targets"))
        seen = outputs != IGNORE
        # Behind its first token a row reads what it was asked for just before.
        assert torch.equal(inputs[:, 1:][seen[:, 1:]], outputs[:, :-1][seen[:, 1:]])
        assert Counter(outputs[seen].tolist()) == Counter(corpus)
        assert inputs[0, 0] == shards.end_of_text
        # The rows side by side are the whole stream: each begins with the last target of the one above it.
        ends = [row[mask][-1] for row, mask in zip(outputs, seen, strict=True) if mask.any()]
        assert inputs[1 : len(ends), 0].tolist() == [int(end) for end in ends[:-1]]


def test_ranks_share_the_streams_and_the_cursor_is_exact(make_shards):
    shards = make_shards(["the master paints the angel " * 9, "the apprentice grinds " * 7])
    whole = StreamLoader(shards, 5, 4, seed=3)
    halves = [StreamLoader(shards, 5, 4, seed=3, rank=rank, world_size=2) for rank in range(2)]
    for _ in range(whole.steps + 2):
        batch, parts = whole.next_batch(), [half.next_batch() for half in halves]
        assert all(torch.equal(torch.cat([part[n] for part in parts]), batch[n]) for n in batch)
    again = StreamLoader(shards, 5, 4, seed=3)
    again.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    assert torch.equal(again.next_batch()["ids"], whole.next_batch()["ids"])
    assert again.epochs > 1
    with pytest.raises(InputError, match="streams 4, but now it is 2"):
        StreamLoader(shards, 5, 2, seed=3).load_state_dict(whole.state_dict())
    with pytest.raises(InputError, match="multiple of 3"):
        StreamLoader(shards, 5, 4, world_size=3)
