"""Drafts by prompt look-up (Saxena 2023): what followed the last tokens when they last stood in the text."""

from __future__ import annotations

from collections.abc import Sequence

LENGTH = 3  # tokens that must agree: two agree too often by chance, four miss the start of a copy


class Lookup:
    """An index of the n-grams of one growing text."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}  # n-gram → where what follows it begins
        self._indexed = LENGTH

    def continuation(self, tokens: Sequence[int], count: int) -> list[int]:
        """`count` tokens that followed the latest earlier occurrence of the text's end, or none.

        Where that is so late that fewer followed, the text goes round from there.
        """
        for end in range(self._indexed, len(tokens)):
            self._after[tuple(tokens[end - LENGTH : end])] = end
        self._indexed = max(self._indexed, len(tokens))
        start = self._after.get(tuple(tokens[-LENGTH:]))
        if start is None:
            return []
        followed = tokens[start : start + count]
        return [followed[i % len(followed)] for i in range(count)]
