"""A small tokenizer and the text that it was trained on."""

from __future__ import annotations

import pytest

from bottega.text.tokenizer import Tokenizer

PROSE = (
    "The workshop opened at dawn, and the apprentices swept the floor before the master came down.\n"
    "They ground the colours, stretched the canvas, and copied the drawings until the drawings were right.\n"
    "Nobody's hand was steady in the first year; everybody's was in the seventh. It's work that teaches.\n"
)
CORPUS = [
    PROSE * 3,
    "for i in range(10):\n    print(i, i ** 2)\n" * 20,
    "Größe, naïveté, 東京, привет 🎨\n" * 5,
]


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    return CORPUS


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(CORPUS, 400)
