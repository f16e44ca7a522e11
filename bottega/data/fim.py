"""Filling in the middle: documents rearranged so that a model learns to insert (Bavarian et al. 2022).

A piece of a document is cut at two characters into prefix, middle and suffix, each encoded on its own, and
becomes

    <|fim_prefix|> prefix <|fim_suffix|> suffix <|fim_middle|> middle <eot>      prefix, suffix, middle (PSM)
    <|fim_prefix|> <|fim_suffix|> suffix <|fim_middle|> prefix middle <eot>      suffix, prefix, middle (SPM)

half of the time each: the paper's two orders and its joint spelling of the second (section 3). It is
rearranged inside the window that it is read in (the paper's context-level variant), so that a middle never
lacks the prefix and suffix that it is to be told from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bottega.data.shard_files import Int64s
from bottega.errors import InputError

if TYPE_CHECKING:
    from bottega.text.tokenizer import Tokenizer

PREFIX, MIDDLE, SUFFIX = "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"
# What a piece grows by, at most: its three special tokens, its end, and the tokens that two cuts inside
# tokens cost beyond those that they cut; it is one or two as a rule, and a piece that needs more stays plain.
GROWTH = 3 + 1 + 4


class FillInMiddle:
    """Rearranges documents for a tokenizer; InputError where it lacks one of the three special tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        lacking = [name for name in (PREFIX, SUFFIX, MIDDLE) if name not in tokenizer.special_tokens]
        if lacking:
            raise InputError(
                f"the tokenizer has no {lacking[0]}, which marks a part of a text that is to be filled in; "
                "leave fim_rate 0, or train a tokenizer with: bottega tokenizer train"
            )
        self._tokenizer, self.end_of_text = tokenizer, tokenizer.end_of_text
        self.prefix, self.suffix, self.middle = (
            tokenizer.special_tokens[name] for name in (PREFIX, SUFFIX, MIDDLE)
        )

    @property
    def special_ids(self) -> list[int]:
        """The three special tokens: they are always given, so none of them is ever a target."""
        return [self.prefix, self.suffix, self.middle]

    def prompt(self, prefix: Sequence[int], suffix: Sequence[int]) -> list[int]:
        """What a model reads before the middle that lies between these two: the prefix last.

        A small model goes on with what it has just read far better than with what stands before a suffix.
        """
        return [self.prefix, self.suffix, *suffix, self.middle, *prefix]

    def rearrange(self, ids: Sequence[int], noise: Sequence[float]) -> list[int]:
        """A piece of a document with its middle and the end of text last; `noise`: three numbers in [0, 1).

        The first two say where it is cut, every character alike, the third in which order the parts come.
        """
        text = self._tokenizer.decode_bytes(ids)
        # The bytes at which a character begins, and the end.
        places = [*np.flatnonzero((np.frombuffer(text, np.uint8) & 0xC0) != 0x80).tolist(), len(text)]
        first, second = sorted(places[int(uniform * len(places))] for uniform in noise[:2])
        encode = self._tokenizer.encode_bytes
        prefix, middle, suffix = encode(text[:first]), encode(text[first:second]), encode(text[second:])
        if noise[2] < 0.5:
            return [self.prefix, *prefix, self.suffix, *suffix, self.middle, *middle, self.end_of_text]
        return [*self.prompt(prefix, suffix), *middle, self.end_of_text]

    def row(self, before: int, ids: Int64s, width: int, noise: Sequence[float]) -> list[int]:
        """A window's ids, of which there may be up to `width`, with its pieces of documents rearranged.

        `ids` are the plain ones, with the ends of documents among them, `before` the one before the first.
        The longest pieces are rearranged first, as long as there is room (so one at least as a rule), the
        others stay as they are; piece i takes the numbers 3i to 3i + 2 of `noise`, as far as it goes.
        """
        ends = np.flatnonzero(ids == self.end_of_text) + 1
        pieces = [piece.tolist() for piece in np.split(ids, ends) if len(piece)]
        room = width - 1 - len(ids)
        rows = list(pieces)
        for i in sorted(range(len(pieces)), key=lambda i: -len(pieces[i])):
            draws = noise[3 * i : 3 * i + 3]
            text = [id for id in pieces[i] if id != self.end_of_text]
            if room < 4 or len(draws) < 3 or not text:  # four: the special tokens, and an end where none was
                continue
            changed = self.rearrange(text, draws)
            if len(changed) - len(pieces[i]) <= room:
                rows[i], room = changed, room - (len(changed) - len(pieces[i]))
        joined = [id for row in rows for id in row]
        return joined if joined[0] == self.prefix else [before, *joined]
