"""The n-gram model: cases worked out by hand, a plain reference, and what must hold for any corpus."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bottega.errors import InputError
from bottega.models.kneser_ney import (
    NgramConfig,
    adjusted_counts,
    count_ngrams,
    discounts,
    join_documents,
)
from bottega.models.ngram import NgramModel, best_order

END, A, B, C = range(4)


def docs(*documents: list[int]) -> list[np.ndarray]:
    return [np.array(document, dtype=np.int64) for document in documents]


def probability(model: NgramModel, context: list[int], token: int) -> float:
    return float(model.next_distribution(context)[token])


def random_documents(seed: int, n: int = 60, vocab_size: int = 12) -> list[np.ndarray]:
    """Documents of 0 to 19 tokens with frequencies like a language's; token `vocab_size` - 1 never occurs."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, vocab_size - 1)
    return [
        rng.choice(np.arange(1, vocab_size - 1), size=rng.integers(0, 20), p=weights / weights.sum())
        for _ in range(n)
    ]


class Reference:
    """The equations of Chen and Goodman, one n-gram at a time, on tuples of words with <s> and </s> apart."""

    def __init__(self, documents: list[np.ndarray], order: int, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        raw: Counter[tuple[object, ...]] = Counter()
        for document in documents:
            words = ["<s>", *document.tolist(), "</s>"]
            for n in range(1, order + 1):
                raw.update(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
        before = defaultdict(set)
        for ngram in raw:
            before[ngram[1:]].add(ngram[0])
        self.counts: dict[tuple[object, ...], int] = {}
        for ngram, count in raw.items():
            plain = len(ngram) == order or ngram[0] == "<s>"
            self.counts[ngram] = count if plain else len(before[ngram])
        del self.counts[("<s>",)]
        self.discounts = []
        for n in range(1, order + 1):
            n_j = Counter(count for ngram, count in self.counts.items() if len(ngram) == n)
            d = {0: 0.0, 1: 0.5, 2: 1.0, 3: 1.5}
            if n_j[1] and n_j[2] and n_j[3]:
                y = n_j[1] / (n_j[1] + 2 * n_j[2])
                closed = {j: j - (j + 1) * y * n_j[j + 1] / n_j[j] for j in (1, 2, 3)}
                if all(0 < closed[j] <= j for j in closed):
                    d |= closed
            self.discounts.append(d)
        self.followers = defaultdict(list)
        for ngram in self.counts:
            self.followers[ngram[:-1]].append(ngram)

    def prob(self, word: object, context: tuple[object, ...]) -> float:
        lower = self.prob(word, context[1:]) if context else 1 / self.vocab_size
        total = sum(self.counts[ngram] for ngram in self.followers[context])
        if not total:
            return lower
        d = self.discounts[len(context)]
        gamma = sum(d[min(self.counts[ngram], 3)] for ngram in self.followers[context]) / total
        count = self.counts.get((*context, word), 0)
        return (count - d[min(count, 3)]) / total + gamma * lower

    def log_probs(self, document: np.ndarray, order: int) -> list[float]:
        words = ["<s>", *document.tolist(), "</s>"]
        return [
            math.log(self.prob(words[i], tuple(words[max(0, i - order + 1) : i])))
            for i in range(1, len(words))
        ]


def test_bigrams_by_hand() -> None:
    # Two documents, "a b" and "a a"; `c` is in the vocabulary of 4 but never occurs.
    # Bigrams: <s>a 2, ab 1, b</s> 1, aa 1, a</s> 1. No count is 3, so the discounts are 0.5, 1, 1.5.
    # Unigrams count the distinct tokens before them: a 2 (<s>, a), b 1, </s> 2 (b, a); no 3 either; 5 in all.
    # γ() = (1 + 0.5 + 1) / 5 = 0.5, spread over 4 tokens: 0.125 each.
    model = NgramModel.fit(docs([A, B], [A, A]), order=2, vocab_size=4, end_of_text=END)
    a, b, end, c = (2 - 1) / 5 + 0.125, (1 - 0.5) / 5 + 0.125, (2 - 1) / 5 + 0.125, 0.125
    # After <s>: total 2, γ = 1 / 2. After a: total 3, γ = 3 · 0.5 / 3. After b: total 1. c is unseen.
    expected = {
        (): [0.5 * end, (2 - 1) / 2 + 0.5 * a, 0.5 * b, 0.5 * c],
        (A,): [0.5 / 3 + 0.5 * end, 0.5 / 3 + 0.5 * a, 0.5 / 3 + 0.5 * b, 0.5 * c],
        (B,): [0.5 / 1 + 0.5 * end, 0.5 * a, 0.5 * b, 0.5 * c],
        (C,): [end, a, b, c],
    }
    for context, distribution in expected.items():
        np.testing.assert_allclose(model.next_distribution(context), distribution, rtol=1e-6)
    nats = [math.log(expected[()][B]), math.log(expected[(B,)][C]), math.log(expected[(C,)][END])]
    np.testing.assert_allclose(model.log_probs([B, C]), nats, rtol=1e-6)
    score = model.score([B, C])
    assert (score.count, score.kind) == (3, "exact")
    assert score.total == pytest.approx(sum(nats))


def test_lower_orders_count_what_stands_before_but_document_starts_keep_their_count() -> None:
    # "a b" twice and "b". Before ab stands only <s>, before b</s> stand a and <s>; <s>a, <s>b are starts.
    config = NgramConfig(order=3, vocab_size=3, end_of_text=END)
    counts = count_ngrams(join_documents(docs([A, B], [A, B], [B]), config), config)
    unigrams, bigrams, trigrams = adjusted_counts(counts, 3)
    assert unigrams.tolist() == [1, 1, 2]  # </s> after b; a after <s>; b after <s> and a
    assert [(int(k) >> 2, int(k) & 3) for k in counts[1].keys] == [(END, A), (END, B), (A, B), (B, END)]
    assert counts[1].count.tolist() == [2, 1, 2, 3]
    assert bigrams.tolist() == [2, 1, 1, 2]
    assert trigrams.tolist() == [2, 1, 2]  # <s>ab, <s>b</s>, ab</s>
    assert [c.tolist() for c in adjusted_counts(counts, 1)] == [
        [3, 2, 3]
    ]  # plain counts where they are the top


def test_discounts_by_hand() -> None:
    # n1 = 10, n2 = 4, n3 = 2, n4 = 1: Y = 10 / 18; D1 = 1 - 2Y·4/10, D2 = 2 - 3Y·2/4, D3 = 3 - 4Y·1/2.
    counts = np.repeat([0, 1, 2, 3, 4, 9], [5, 10, 4, 2, 1, 7])
    np.testing.assert_allclose(discounts(counts), [0, 5 / 9, 7 / 6, 17 / 9])


@pytest.mark.parametrize(
    "n", [[0, 4, 2, 1], [10, 0, 2, 1], [10, 4, 0, 1], [10, 1, 9, 1], [10, 4, 1, 9]], ids=str
)
def test_discounts_fall_back_where_the_counts_of_counts_give_none(n: list[int]) -> None:
    # The last two: n2 = 1, n3 = 9 makes D2 negative; n3 = 1, n4 = 9 makes D3 negative.
    assert discounts(np.repeat([1, 2, 3, 4], n)).tolist() == [0, 0.5, 1.0, 1.5]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([4, 9, 40]), st.integers(1, 80))
def test_agrees_with_the_equations_on_any_corpus(seed: int, order: int, vocab_size: int, n: int) -> None:
    documents = [*random_documents(seed, n, vocab_size), np.array([1])]
    model = NgramModel.fit(documents, order, vocab_size, END)
    reference = Reference(documents, order, vocab_size)
    for document in [*random_documents(seed + 1, 5, vocab_size), np.array([vocab_size - 1, 1, 1])]:
        np.testing.assert_allclose(
            model.log_probs(document), reference.log_probs(document, order), rtol=2e-6, atol=2e-6
        )


@pytest.mark.parametrize("order", range(1, 6))
def test_the_probabilities_after_any_context_sum_to_one(order: int) -> None:
    documents = random_documents(0)
    model = NgramModel.fit(documents, order, 12, END)
    contexts = [[], [11], [11, 11, 11], [1, 11], [11, 1], [1, END], *(d.tolist() for d in documents[:40])]
    for context in contexts:
        distribution = model.next_distribution(context)
        assert distribution.min() > 0
        assert distribution.sum() == pytest.approx(1, abs=2e-6)


def test_log_probs_are_those_of_the_distributions_and_documents_can_be_joined() -> None:
    model = NgramModel.fit(random_documents(0), 4, 12, END)
    first, second = random_documents(5)[:2]
    singles = [model.log_probs(first), model.log_probs(second)]
    joined = np.concatenate([first, [END], second])
    np.testing.assert_array_equal(model.log_probs(joined), np.concatenate(singles))
    stepwise = [math.log(probability(model, joined[:i].tolist(), t)) for i, t in enumerate([*joined, END])]
    np.testing.assert_allclose(model.log_probs(joined), stepwise, rtol=1e-5)


def test_a_document_with_an_end_inside_is_two() -> None:
    apart = NgramModel.fit(docs([A, B], [B, A, A]), 3, 4, END)
    together = NgramModel.fit(docs([A, B, END, B, A, A]), 3, 4, END)
    for one, other in zip(apart.levels, together.levels, strict=True):
        np.testing.assert_array_equal(one.log_prob, other.log_prob)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int64])
def test_any_integers_are_token_ids(dtype: type) -> None:
    # Ids whose keys do not fit 32 bits: a narrow type must not wrap around.
    vocab_size = 60_000
    ids = np.array([59_999, 40_000, 59_999, 40_000, 1], dtype=dtype)
    model = NgramModel.fit([ids], 3, vocab_size, END)
    reference = Reference([ids], 3, vocab_size)
    np.testing.assert_allclose(model.log_probs(ids), reference.log_probs(ids, 3), rtol=1e-5)


def test_documents_shorter_than_the_order() -> None:
    model = NgramModel.fit(docs([A]), 5, 3, END)
    assert [len(level.keys) for level in model.levels] == [3, 2, 1, 0, 0]
    assert model.next_distribution([A, B, A, B]).sum() == pytest.approx(1)
    assert np.isfinite(model.log_probs([A, B, A, B, A])).all()


def test_samples_follow_the_distribution_and_the_seed() -> None:
    model = NgramModel.fit(random_documents(0), 3, 12, END)
    drawn = model.sample(4000, seed=1, context=[1])
    assert drawn == model.sample(4000, seed=1, context=[1])
    assert drawn != model.sample(4000, seed=2, context=[1])
    after = [b for a, b in pairwise(drawn) if a == END]
    frequencies = np.bincount(after, minlength=12) / len(after)
    expected = model.next_distribution([])
    assert len(after) > 200
    assert np.abs(frequencies - expected).max() < 4 * math.sqrt(0.25 / len(after))
    firsts = np.bincount([model.sample(1, seed, [1, 2])[0] for seed in range(400)], minlength=12) / 400
    assert np.abs(firsts - model.next_distribution([1, 2])).max() < 0.1
    assert model.sample(0, seed=0) == []


def test_best_order_is_the_best_of_separate_fits() -> None:
    train, held_out = random_documents(0, 300), random_documents(1, 30)
    steps: list[tuple[str, float]] = []
    best, scores = best_order(train, held_out, 12, END, [1, 2, 3, 4], lambda *step: steps.append(step))
    separate = {n: NgramModel.fit(train, n, 12, END) for n in (1, 2, 3, 4)}
    for n, model in separate.items():
        total = sum(model.score(document).total for document in held_out)
        assert scores[n].total == pytest.approx(total, rel=1e-9)
        assert scores[n].count == sum(len(document) + 1 for document in held_out)
    assert scores[best.config.order].total == max(score.total for score in scores.values())
    np.testing.assert_array_equal(best.levels[-1].log_prob, separate[best.config.order].levels[-1].log_prob)
    fractions = [fraction for _, fraction in steps]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] < fractions[-1] <= 1


def test_a_saved_model_is_the_same(tmp_path: Path) -> None:
    model = NgramModel.fit(random_documents(0), 4, 12, END)
    model.save_pretrained(tmp_path / "model")
    loaded = NgramModel.from_pretrained(tmp_path / "model")
    assert loaded.config == model.config
    for document in random_documents(3)[:5]:
        np.testing.assert_array_equal(loaded.log_probs(document), model.log_probs(document))
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["model_type"] == "bottega-ngram"
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def truncate(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def other_order(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"order": 3}))


def other_vocabulary(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 13}))


def other_type(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "gpt2"}')


def unsorted(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["levels.2.keys"] = tensors["levels.2.keys"][::-1].copy()
    save_file(tensors, folder / "model.safetensors")


def not_a_number(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["levels.2.log_prob"][0] = np.nan
    save_file(tensors, folder / "model.safetensors")


def half_precision(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["levels.1.log_prob"] = tensors["levels.1.log_prob"].astype(np.float16)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "model.safetensors is damaged"),
        (other_order, "model.safetensors is damaged"),
        (other_vocabulary, "the unigrams are not the vocabulary of 13"),
        (other_type, "describes a 'gpt2'; expected 'bottega-ngram'"),
        (unsorted, "the 2-grams are not sorted"),
        (not_a_number, "not a number"),
        (half_precision, "order 1"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is damaged"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    NgramModel.fit(random_documents(0), 2, 12, END).save_pretrained(tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        NgramModel.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_saving_replaces_an_ngram_model_and_nothing_else(tmp_path: Path) -> None:
    model = NgramModel.fit(docs([A, B]), 2, 4, END)
    NgramModel.fit(docs([A]), 1, 4, END).save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    assert NgramModel.from_pretrained(tmp_path).config.order == 2
    other_type(tmp_path)
    for folder, message in ((tmp_path, "describes a 'gpt2'"), (tmp_path / "model.safetensors", "is a file")):
        with pytest.raises(InputError, match=message):
            model.save_pretrained(folder)


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([], "no tokens"),
        ([[]], "no tokens"),
        ([[A, 4]], "token id 4 is outside the model's vocabulary of 4"),
        ([[A], [-1]], "token id -1 is outside"),
        ([[A, 0.5]], "token ids, not float64"),
    ],
)
def test_wrong_documents_are_refused(documents: list[list[int]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NgramModel.fit((np.array(document) for document in documents), 2, 4, END)


def test_wrong_requests_are_refused() -> None:
    model = NgramModel.fit(docs([A]), 2, 4, END)
    for ask in (model.log_probs, model.next_distribution, lambda ids: model.sample(1, 0, ids)):
        with pytest.raises(InputError, match="token id 4"):
            ask([A, 4])
    with pytest.raises(InputError, match="at least 1"):
        NgramModel.fit(docs([A]), 0, 4, END)
    with pytest.raises(InputError, match="end_of_text 4"):
        NgramModel.fit(docs([A]), 2, 4, 4)
