"""Sentences that say nearly the same in the same words: too short for the shingles of `near_duplicates`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bottega.data.pairs import normalised

ALIKE = 0.7  # from this share of common trigrams on two sentences are near-duplicates


def near(sentences: Sequence[str]) -> Callable[[str], bool]:
    """A test whether a sentence is a near-duplicate of one of these.

    It is where, case and punctuation apart, it contains one of them, or where the two have 70 % of their
    letter trigrams in common (Dice 1945: twice those in both over those in each): "Je suis étudiante." and
    "Moi, je suis étudiant." are near-duplicates of "Je suis étudiant.", and "Je suis fatigué." is not.
    """
    known = [(f" {normalised(sentence)} ", _trigrams(normalised(sentence))) for sentence in sentences]

    def is_near(sentence: str) -> bool:
        text = normalised(sentence)
        grams = _trigrams(text)
        return any(
            words in f" {text} " or 2 * len(grams & mine) >= ALIKE * (len(grams) + len(mine))
            for words, mine in known
        )

    return is_near


def _trigrams(text: str) -> set[str]:
    text = f" {text} "
    return {text[i : i + 3] for i in range(len(text) - 2)}
