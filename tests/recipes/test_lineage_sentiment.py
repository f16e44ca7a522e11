from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bottega.data.labelled import Labelled
from bottega.errors import InputError
from bottega.recipes.lineage_sentiment import FITS, SentimentConfig, measure_sizes, run_sentiment


def drawn(count: int, seed: int) -> Labelled:
    """Texts whose words each lean to one of two classes: what naive Bayes takes a text for."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    words = [
        rng.permutation(60)[:12] // 2 * 2 + (rng.random(12) < (0.62 if label else 0.38)) for label in labels
    ]
    return Labelled([" ".join(f"w{word}" for word in row) for row in words], [str(label) for label in labels])


def test_more_texts_make_every_classifier_better() -> None:
    curves = measure_sizes(drawn(1500, 0), drawn(500, 1), SentimentConfig(draws=3, smallest=20))
    assert set(curves) == set(FITS)
    for points in curves.values():
        assert sorted(points) == [20, 40, 80, 160, 320, 640, 1280, 1500]
        assert [len(points[size]) for size in sorted(points)] == [3] * 7 + [1]
        assert np.mean(points[640]) > np.mean(points[20]) + 0.05
    # Where its assumption holds and data is scarce, the generative one is ahead (Ng and Jordan's point).
    scarce = {name: np.mean(points[40]) for name, points in curves.items()}
    assert scarce["naive Bayes"] > scarce["logistic regression"]


def test_a_draw_of_two_texts_still_has_two_classes() -> None:
    rare = Labelled([f"a{i}" for i in range(50)] + ["b"], ["x"] * 50 + ["y"])
    curves = measure_sizes(rare, rare, SentimentConfig(draws=4, smallest=2))
    assert len(curves["naive Bayes"][2]) == 4


@pytest.mark.parametrize("wrong", [{"draws": 0}, {"smallest": 1}, {"data": ()}])
def test_senseless_settings_are_refused(wrong) -> None:
    with pytest.raises(InputError, match="expected data, a draw, and two texts"):
        SentimentConfig(**wrong)


@pytest.mark.parametrize("lines", ["", "a text,x\n", "a text,x\nanother text,x\n"])
def test_too_few_texts_are_refused(tmp_path: Path, lines: str) -> None:
    (tmp_path / "few.csv").write_text(lines)
    with pytest.raises(InputError, match=r"nothing to learn from|a classifier needs two classes"):
        run_sentiment(tmp_path / "out", SentimentConfig(data=(str(tmp_path / "few.csv"),)))


def test_the_files_say_what_was_measured(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    config = SentimentConfig(data=("embedded",), draws=2, smallest=1000)
    table = run_sentiment(tmp_path, config, lambda done, of: seen.append((done, of)))
    values = json.loads((tmp_path / "sentiment.json").read_text())
    points = values["curves"]["embedded"]["naive Bayes"]
    assert len(points["1000"]) == 2 and values["held_out"]["embedded"] >= 200
    assert f"{np.mean(points['1000']):.1%}" in table
    assert (tmp_path / "sentiment.png").read_bytes().startswith(b"\x89PNG")
    assert seen[-1][0] == seen[-1][1]
