"""Batches of pairs: each once an epoch, alike in length, the same after any interruption."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bottega.data.pair_loader import EncodedPairs, PairLoader, Vocabulary, encode_pairs
from bottega.data.pairs import SPECIAL_TOKENS, Pairs
from bottega.errors import InputError
from bottega.nn.loss import IGNORE
from bottega.text.tokenizer import Tokenizer

WORDS = Vocabulary(pad=0, bos=1, eos=2, size=1000)


def made(n: int = 103, seed: int = 0) -> EncodedPairs:
    """Pairs whose first source token tells which they are."""
    rng = np.random.default_rng(seed)
    source = [[10 + i, *rng.integers(3, 9, rng.integers(0, 30)).tolist()] for i in range(n)]
    return EncodedPairs(source, [[3] * int(rng.integers(1, 30)) for _ in range(n)], WORDS)


def taken(loader: PairLoader, batches: int) -> list[int]:
    return [int(i) - 10 for _ in range(batches) for i in loader.next_batch()["source"][:, 0]]


def test_a_batch_is_padded_and_shifted() -> None:
    pairs = EncodedPairs([[5, 6], [7]], [[8], [9, 9, 9]], WORDS)
    batch = pairs.batch([0, 1])
    assert batch["source"].tolist() == [[5, 6, 2], [7, 2, 0]]
    assert batch["source_mask"].tolist() == [[True] * 3, [True, True, False]]
    assert batch["target"].tolist() == [[1, 8, 0, 0], [1, 9, 9, 9]]
    assert batch["targets"].tolist() == [[8, 2, IGNORE, IGNORE], [9, 9, 9, 2]]


def test_each_pair_at_most_once_an_epoch_and_orders_differ() -> None:
    loader = PairLoader(made(), 10)
    first, second = taken(loader, 10), taken(loader, 10)
    assert len(set(first)) == len(set(second)) == 100
    assert first != second
    assert set(first) != set(second)  # other pairs wait
    assert loader.epochs == 2


def test_every_pair_is_seen_within_a_few_epochs() -> None:
    assert set(taken(PairLoader(made(), 10), 100)) == set(range(103))


def test_batches_are_alike_in_length() -> None:
    pairs = made(1000)
    loader = PairLoader(pairs, 20)
    batches = [loader.next_batch() for _ in range(50)]

    def padding(batches: list[dict[str, torch.Tensor]]) -> float:
        cells = sum(batch["source"].numel() + batch["target"].numel() for batch in batches)
        real = sum(int(batch["source_mask"].sum() + (batch["targets"] != IGNORE).sum()) for batch in batches)
        return 1 - real / cells

    plain = [pairs.batch(range(i, i + 20)) for i in range(0, 1000, 20)]
    assert padding(batches) < 0.7 * padding(plain)
    lengths = [batch["source"].shape[1] + batch["target"].shape[1] for batch in batches]
    assert lengths != sorted(lengths)  # batches are shuffled


def test_resume_is_exact_at_any_step() -> None:
    loader = PairLoader(made(), 10, seed=3)
    whole = [taken(loader, 1) for _ in range(25)]
    for stop in (0, 7, 10, 24):
        before = PairLoader(made(), 10, seed=3)
        taken(before, stop)
        after = PairLoader(made(), 10, seed=3)
        after.load_state_dict(before.state_dict())
        assert [taken(after, 1) for _ in range(25 - stop)] == whole[stop:]


def test_ranks_share_each_batch() -> None:
    alone = PairLoader(made(), 12)
    ranks = [PairLoader(made(), 12, rank=rank, world_size=3) for rank in range(3)]
    for _ in range(20):
        shares = [taken(rank, 1) for rank in ranks]
        assert [len(share) for share in shares] == [4, 4, 4]
        assert sorted(row for share in shares for row in share) == sorted(taken(alone, 1))


def test_validation_takes_every_pair_once() -> None:
    rows = [int(i) - 10 for batch in made().in_order(16) for i in batch["source"][:, 0]]
    assert sorted(rows) == list(range(103))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "batch_size 0"),
        ({"batch_size": 10, "rank": 2, "world_size": 2}, "rank 2 of 2"),
        ({"batch_size": 9, "world_size": 2}, "cannot be shared out evenly"),
        ({"batch_size": 104}, "103 pairs are fewer than one batch of 104"),
        ({"batch_size": 10, "seed": -1}, "seed -1"),
    ],
)
def test_senseless_options(options: dict[str, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        PairLoader(made(), **options)


def test_a_cursor_of_other_pairs_is_refused() -> None:
    state = PairLoader(made(), 10).state_dict()
    for other in (PairLoader(made(seed=1), 10), PairLoader(made(), 20), PairLoader(made(), 10, seed=1)):
        with pytest.raises(InputError, match="resume with the same data"):
            other.load_state_dict(state)


def test_pairs_beyond_the_context_are_counted() -> None:
    pairs = Pairs(["short", "long " * 50, "short too"], ["kurz", "lang", "lang " * 50])
    tokenizer = Tokenizer.train(pairs.source + pairs.target, 262, special_tokens=SPECIAL_TOKENS)
    encoded = encode_pairs(pairs, tokenizer, 20)
    assert (len(encoded), encoded.too_long) == (1, 2)
    assert tokenizer.decode(encoded.target[0]) == "kurz"
    assert encoded.vocabulary == Vocabulary(259, 260, 261, 262)
    with pytest.raises(InputError, match="none of 3 pairs fits into a context of 2"):
        encode_pairs(pairs, tokenizer, 2)


def test_a_tokenizer_of_a_language_model_is_refused() -> None:
    tokenizer = Tokenizer.train(["some text some text"], 263)
    with pytest.raises(InputError, match="no <pad>"):
        Vocabulary.of(tokenizer)
