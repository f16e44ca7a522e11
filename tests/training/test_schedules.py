"""The rate over the run."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bottega.training.config import TrainingConfig
from bottega.training.schedules import depends_from, multiplier


def rates(steps: int | None, n: int, **values) -> list[float]:
    config = TrainingConfig(steps=100, **values)
    return [multiplier(config, step, steps) for step in range(n)]


def test_warmup_stable_decay() -> None:
    rate = rates(100, 100, schedule="wsd", warmup_steps=10, decay_fraction=0.2)
    assert rate[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rate[10:80] == [1.0] * 70
    falls = [a - b for a, b in pairwise(rate[80:])]
    assert falls == pytest.approx([1 / 21] * 19)  # linear
    assert rate[-1] == pytest.approx(1 / 21)  # zero itself would be the next


def test_cosine_ends_at_a_tenth() -> None:
    rate = rates(110, 111, schedule="cosine", warmup_steps=10)
    assert rate[9] == rate[10] == 1.0
    assert rate[60] == pytest.approx(0.55)
    assert rate[110] == pytest.approx(0.1)
    assert rate[10:] == sorted(rate[10:], reverse=True)


@pytest.mark.parametrize(
    ("schedule", "decay", "first"),
    [
        ("wsd", 0.4, 60),
        ("wsd", 0.0, 100),
        ("cosine", 0.4, 0),
        ("constant", 0.4, 100),
        ("inverse_sqrt", 0.4, 100),
    ],
)
def test_until_then_no_rate_depends_on_the_number_of_steps(schedule: str, decay: float, first: int) -> None:
    values = {"schedule": schedule, "decay_fraction": decay, "warmup_steps": 0}
    assert depends_from(TrainingConfig(steps=100, **values), 100) == first
    planned, longer = (rates(steps, 100, **values) for steps in (100, 200))
    assert planned[:first] == longer[:first]
    assert planned[first + 1 :] != longer[first + 1 :] or first == 100


def test_constant_and_no_warmup() -> None:
    assert rates(100, 100, schedule="constant", warmup_steps=0) == [1.0] * 100
    assert rates(10, 10, schedule="wsd", warmup_steps=0, decay_fraction=0.0) == [1.0] * 10


@pytest.mark.parametrize("schedule", ["wsd", "cosine", "constant"])
def test_until_minutes_are_steps_the_rate_warms_up_and_stays(schedule: str) -> None:
    rate = rates(None, 50, schedule=schedule, warmup_steps=10)
    assert rate[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rate[10:] == [1.0] * 40


@pytest.mark.parametrize("schedule", ["wsd", "cosine", "constant", "inverse_sqrt"])
def test_a_run_shorter_than_its_warmup_still_moves(schedule: str) -> None:
    assert all(0 < rate <= 1 for rate in rates(5, 5, schedule=schedule, warmup_steps=20))


def test_inverse_sqrt_is_the_papers_rate() -> None:
    """Vaswani et al. (2017), eq. 3, with the peak as the learning rate."""
    width, warmup = 512, 40
    peak = (width * warmup) ** -0.5
    rate = [peak * value for value in rates(None, 200, schedule="inverse_sqrt", warmup_steps=warmup)]
    paper = [width**-0.5 * min(step**-0.5, step * warmup**-1.5) for step in range(1, 201)]
    assert rate == pytest.approx(paper)
    assert rates(10, 10, schedule="inverse_sqrt", warmup_steps=0)[0] == 1.0
