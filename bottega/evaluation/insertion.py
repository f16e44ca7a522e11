"""What a middle costs with the suffix that follows it, and what it costs without (Bavarian et al. 2022).

The same tokens are scored twice: with the suffix before the prefix, as a server that inserts reads them, and
after the prefix alone, as any text is. Only the middle's own bits are counted, not those of its end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from bottega.data.fim import FillInMiddle
from bottega.errors import InputError
from bottega.models.gpt import GPT
from bottega.text.tokenizer import Tokenizer

LENGTHS = (8, 16, 32, 64, 128)  # of middles, in characters


@dataclass(frozen=True)
class MiddleScore:
    """Bits per byte of middles of one length, over `middles` of them."""

    characters: int
    with_suffix: float
    without_suffix: float
    middles: int

    @property
    def saving(self) -> float:
        """Share of the bits that the suffix saves."""
        return 1 - self.with_suffix / self.without_suffix


def score_middles(
    model: GPT,
    tokenizer: Tokenizer,
    documents: Iterable[str],
    lengths: Sequence[int] = LENGTHS,
    *,
    per_document: int = 4,
    seed: int = 0,
) -> list[MiddleScore]:
    """Score middles of each length, `per_document` places of each text, drawn evenly by `seed`.

    Around a middle stand prefix and suffix of equal lengths in characters, together half of what the context
    holds of the text on average, so that all fits. Texts that are too short for it are left out. Raises
    InputError where the tokenizer has no tokens for insertion, and where no text is long enough.
    """
    fim, rng = FillInMiddle(tokenizer), np.random.default_rng(seed)
    texts = [(text, _around(model, tokenizer, text)) for text in documents if text]
    scores = []
    for length in lengths:
        nats, n_bytes, count = np.zeros(2), 0, 0
        for text, around in texts:
            places = max(0, len(text) - 2 * around - length)
            for place in rng.integers(around, around + places, per_document) if places else []:
                middle = text[place : place + length]
                prefix, inside, suffix = map(
                    tokenizer.encode,
                    (text[place - around : place], middle, text[place + length : place + length + around]),
                )
                told = fim.prompt(prefix, suffix)
                if len(told) + len(inside) <= model.config.context_length:
                    plain = [tokenizer.end_of_text, *prefix]
                    nats += [_nats(model, told, inside), _nats(model, plain, inside)]
                    n_bytes, count = n_bytes + len(middle.encode()), count + 1
        if count:
            with_suffix, without = (nats / math.log(2) / n_bytes).tolist()
            scores.append(MiddleScore(length, with_suffix, without, count))
    if not scores:
        raise InputError(f"no text has room for a middle of {min(lengths)} characters; give longer ones")
    return scores


def _around(model: GPT, tokenizer: Tokenizer, text: str) -> int:
    """Characters of the prefix, and of the suffix: each a quarter of what the context holds of this text."""
    characters_a_token = len(text) / max(1, len(tokenizer.encode(text)))
    return max(1, int(model.config.context_length / 4 * characters_a_token))


@torch.no_grad()
def _nats(model: GPT, before: Sequence[int], middle: Sequence[int]) -> float:
    """What `middle` costs after `before`."""
    device = next(model.parameters()).device
    ids = torch.tensor([*before, *middle], device=device)
    logits = model(ids[None, :-1])[0, len(before) - 1 :].float()
    return float(F.cross_entropy(logits, ids[len(before) :], reduction="sum"))
