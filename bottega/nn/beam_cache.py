"""The KV cache of a beam search: hypotheses that share a beginning share its keys and values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from bottega.nn.attention import attention


class BeamCache:
    """Keys and values of every token that a sentence's hypotheses ever took, and whose past each is part of.

    What stands on the time axis of a pass are the hypotheses of a sentence, one token of each: `x` is
    (sentence, beam, width), and cross-attention takes it as it is. A token's keys and values are written
    once and never moved; reordering the beam moves a row of booleans for each hypothesis, which says which
    tokens are its own past. Attention over its companions' tokens, masked, costs less than copies would.
    Satisfies the contract of `KVCache` with `advance(1)` after each pass.
    """

    def __init__(
        self,
        n_layer: int,
        sentences: int,
        n_head: int,
        head_dim: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.keys = torch.zeros(n_layer, sentences, n_head, 0, head_dim, dtype=dtype, device=device)
        self.values = torch.zeros_like(self.keys)
        self.past = torch.zeros(sentences, 1, 0, dtype=torch.bool, device=device)
        self.length = 0  # tokens of each hypothesis

    def positions(self, n: int) -> Int[Tensor, "sentence n"]:
        """The position of the next token, the same for all `n` hypotheses of every sentence."""
        sentences, device = self.past.shape[0], self.past.device
        if self.past.shape[1] != n:
            raise ValueError(f"the cache has {self.past.shape[1]} hypotheses a sentence, not {n}")
        return torch.full((sentences, n), self.length, device=device)

    def attend(
        self,
        layer: int,
        q: Float[Tensor, "sentence head beam dim"],
        k: Float[Tensor, "sentence head beam dim"],
        v: Float[Tensor, "sentence head beam dim"],
        band: int | None = None,
    ) -> Float[Tensor, "sentence head beam dim"]:
        """Store the keys and values of the new tokens; each attends to its hypothesis' past and to itself."""
        if band is not None:
            raise ValueError("a beam has no band: its tokens are not stored in the order of time")
        start, n = self.past.shape[2], q.shape[2]
        self._reserve(start + n)
        self.keys[layer, :, :, start : start + n] = k
        self.values[layer, :, :, start : start + n] = v
        seen = torch.cat([self.past, self._itself(n)], 2)[:, None]
        keys, values = self.keys[layer, :, :, : start + n], self.values[layer, :, :, : start + n]
        return attention(q, keys, values, seen)

    def advance(self, counts: Int[Tensor, " batch"] | int) -> None:
        """Count the new tokens as their hypotheses' past."""
        if not isinstance(counts, int) or counts != 1:
            raise ValueError(f"the hypotheses of a beam advance by one token each, not by {counts}")
        self.past = torch.cat([self.past, self._itself(self.past.shape[1])], 2)
        self.length += 1

    def select(self, rows: Int[Tensor, " n"]) -> Int[Tensor, " kept"]:
        """Hypothesis `i` of all becomes what `rows[i]` was; returns the sentences that are kept."""
        beam = self.past.shape[1]
        kept = torch.unique_consecutive(rows // beam)
        if len(kept) < len(self.past):
            used = self.past.shape[2]
            self.keys = self.keys[:, :, :, :used].index_select(1, kept)
            self.values = self.values[:, :, :, :used].index_select(1, kept)
        self.past = self.past.flatten(0, 1)[rows].view(len(kept), -1, self.past.shape[2])
        return kept

    def _itself(self, n: int) -> Tensor:
        return torch.eye(n, dtype=torch.bool, device=self.past.device).expand(len(self.past), n, n)

    def _reserve(self, slots: int) -> None:
        """Room for at least so many tokens a sentence: doubled, so that a token is copied twice at most."""
        room = self.keys.shape[3]
        if slots > room:
            more = (0, 0, 0, max(slots, 2 * room, 64) - room)
            self.keys, self.values = F.pad(self.keys, more), F.pad(self.values, more)
