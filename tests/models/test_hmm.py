"""The hidden Markov model against enumeration of all paths, and its bad input."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bottega.errors import InputError
from bottega.models import hmm
from bottega.models.hmm import HMM, HMMConfig

CONFIG = HMMConfig(3, "categorical", 4)
SEQUENCE = [0, 3, 1, 1, 2]


@pytest.fixture
def model() -> HMM:
    built = HMM.drawn(CONFIG, [SEQUENCE], seed=3)
    built.transition = (3 * torch.randn(3, 3, dtype=torch.float64)).log_softmax(-1)
    return built


def joint(model: HMM, path: tuple[int, ...]) -> float:
    nats = model.emissions.log_prob(torch.tensor(SEQUENCE))
    moves = sum(model.transition[a, b] for a, b in itertools.pairwise(path))
    return float(model.start[path[0]] + moves + sum(nats[t, state] for t, state in enumerate(path)))


def test_forward_sums_over_all_paths_and_viterbi_finds_the_best(model: HMM) -> None:
    paths = list(itertools.product(range(3), repeat=len(SEQUENCE)))
    nats = [joint(model, path) for path in paths]
    assert model.score(SEQUENCE) == pytest.approx(math.log(sum(map(math.exp, nats))))
    path, best = model.decode(SEQUENCE)
    assert best == pytest.approx(max(nats))
    assert joint(model, tuple(path)) == pytest.approx(max(nats))  # two paths may be equally good


def test_training_never_loses_likelihood_and_finds_the_states_that_made_the_text() -> None:
    truth = HMM.drawn(HMMConfig(2, "gaussian", 1), [[[0.0], [1.0]]])
    truth.transition = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64).log()
    truth.emissions.mean = torch.tensor([[-2.0], [2.0]], dtype=torch.float64)
    drawn = [truth.sample(300, seed)[1] for seed in range(4)]
    model = HMM.drawn(truth.config, drawn, seed=1)
    history = model.fit(drawn, 200, 1e-8)
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(history))
    assert sorted(model.emissions.mean.flatten().tolist()) == pytest.approx([-2, 2], abs=0.2)
    stay = sorted(model.transition.exp().diagonal().tolist())
    assert stay == pytest.approx([0.8, 0.9], abs=0.06)


def test_a_state_that_cannot_be_reached_makes_no_nan(model: HMM) -> None:
    model.transition[:, 2] = -math.inf
    model.transition = model.transition - model.transition.logsumexp(-1, keepdim=True)
    model.start = torch.tensor([0.5, 0.5, 0], dtype=torch.float64).log()
    history = model.fit([SEQUENCE, SEQUENCE[::-1]], 5, -1)
    assert all(map(math.isfinite, history))
    assert math.isfinite(model.score(SEQUENCE))


def test_saved_and_loaded_it_is_the_same(model: HMM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "hmm")
    assert HMM.from_pretrained(tmp_path / "hmm").score(SEQUENCE) == model.score(SEQUENCE)
    weights = tmp_path / "hmm" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="damaged"):
        HMM.from_pretrained(tmp_path / "hmm")
    weights.unlink()
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        HMM.from_pretrained(tmp_path / "hmm")


@pytest.mark.parametrize(
    ("config", "sequences", "said"),
    [
        (CONFIG, [[]], "every sequence is empty"),
        (CONFIG, [[0, 4]], "0 to 4; the model knows 0 to 3"),
        (CONFIG, [[0, -1]], "from -1"),
        (CONFIG, [[0.5]], "whole numbers"),
        (HMMConfig(2, "gaussian", 2), [[[1.0, math.nan]]], "finite"),
        (HMMConfig(2, "gaussian", 2), [[1.0, 2.0]], "time × 2"),
    ],
)
def test_bad_input(config: HMMConfig, sequences: list, said: str) -> None:
    with pytest.raises(InputError, match=said):
        HMM.drawn(config, sequences)
    with pytest.raises(InputError, match="needs states"):
        HMMConfig(0, "categorical", 3)


@pytest.mark.parametrize("emissions", ["categorical", "gaussian"])
def test_scaled_numbers_and_logs_take_the_same_steps(emissions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = HMMConfig(3, emissions, 5 if emissions == "categorical" else 2)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    draw = (
        (lambda n: rng.integers(0, 5, n)) if emissions == "categorical" else lambda n: rng.normal(size=(n, 2))
    )
    sequences = [draw(n) for n in (9, 1, 30)]
    scaled, logs = (HMM.drawn(config, sequences, seed=1) for _ in range(2))
    history = scaled.fit(sequences, 5, -1, prior=0.1)
    one_by_one = scaled.log_probs(sequences[2])
    monkeypatch.setattr(hmm, "_SPAN", 0.0)  # so that nothing may be scaled
    assert logs.fit(sequences, 5, -1, prior=0.1) == pytest.approx(history, rel=1e-12)
    assert torch.allclose(logs.transition, scaled.transition, atol=1e-10)
    assert torch.allclose(logs.start, scaled.start, atol=1e-10)
    assert torch.allclose(logs.log_probs(sequences[2]), one_by_one, atol=1e-10)
    assert float(one_by_one.sum()) == pytest.approx(logs.score(sequences[2]), rel=1e-12)


def test_a_state_that_scaling_would_lose_is_kept() -> None:
    """State 1 is left by ever smaller shares, yet only it can emit what comes last."""
    log = lambda rows: torch.tensor(rows, dtype=torch.float64).log()  # noqa: E731
    model = HMM(
        HMMConfig(2, "categorical", 2),
        log([0.5, 0.5]),
        log([[1.0, 0.0], [0.0, 1.0]]),
        hmm.Categorical(log([[1.0, 0.0], [1e-9, 1 - 1e-9]])),
    )
    assert model.score([0] * 100 + [1]) == pytest.approx(math.log(0.5) + 100 * math.log(1e-9), rel=1e-6)


def test_a_prior_keeps_the_unseen_possible() -> None:
    model = HMM.drawn(CONFIG, [SEQUENCE], seed=2)
    model.fit([[0, 1, 0, 1]] * 3, 20, -1)
    assert model.score([2]) == -math.inf
    model.fit([[0, 1, 0, 1]] * 3, 20, -1, prior=0.1)
    assert -10 < model.score([2]) < 0
