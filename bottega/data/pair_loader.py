"""From pairs of sentences to batches of about one length, shuffled; the cursor is one integer.

The order of an epoch depends on (seed, epoch) alone. It is cut into pools; within a pool pairs are sorted by
length and cut into batches, and then all batches are shuffled. So little is padding, and batches still differ
from epoch to epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bottega.data.pairs import BOS, EOS, PAD, Pairs
from bottega.errors import InputError
from bottega.nn.loss import IGNORE
from bottega.text.tokenizer import Tokenizer

POOL = 50  # batches that are sorted together: more leaves less padding, but makes batches alike
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Vocabulary:
    """The ids of a translator's special tokens, and how many ids there are."""

    pad: int
    bos: int
    eos: int
    size: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Vocabulary:
        """Those of a tokenizer; InputError where it was not made for translation."""
        special = tokenizer.special_tokens
        if missing := [name for name in (PAD, BOS, EOS) if name not in special]:
            raise InputError(f"the tokenizer has no {missing[0]}: it was not made for a translator")
        return cls(special[PAD], special[BOS], special[EOS], tokenizer.vocab_size)


@dataclass(frozen=True)
class EncodedPairs:
    """Token ids of both sides without special tokens; `too_long` counts the pairs that were left out."""

    source: list[list[int]]
    target: list[list[int]]
    vocabulary: Vocabulary
    too_long: int = 0

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, rows: Int64s | Sequence[int]) -> dict[str, Tensor]:
        """These pairs, padded on the right.

        `source` (batch × s) ends with <eos>, and `source_mask` is True on it; `target` (batch × t) begins
        with <bos>; `targets` (batch × t) is the same moved on by one, ends with <eos>, IGNORE on padding.
        """
        words = self.vocabulary
        source = _padded([[*self.source[i], words.eos] for i in rows], words.pad)
        target = _padded([[words.bos, *self.target[i]] for i in rows], words.pad)
        targets = _padded([[*self.target[i], words.eos] for i in rows], IGNORE)
        return {"source": source, "source_mask": source != words.pad, "target": target, "targets": targets}

    def in_order(self, batch_size: int) -> Iterator[dict[str, Tensor]]:
        """Every pair once, short ones first: for validation."""
        order = np.lexsort(_lengths(self))
        for start in range(0, len(order), batch_size):
            yield self.batch(order[start : start + batch_size])


def encode_pairs(pairs: Pairs, tokenizer: Tokenizer, context_length: int) -> EncodedPairs:
    """The ids of the pairs of which neither side, with its <eos>, exceeds `context_length` tokens.

    Raises InputError where none is left.
    """
    source, target = tokenizer.encode_batch(pairs.source), tokenizer.encode_batch(pairs.target)
    kept = [(s, t) for s, t in zip(source, target, strict=True) if max(len(s), len(t)) < context_length]
    if not kept:
        raise InputError(
            f"none of {len(pairs):,} pairs fits into a context of {context_length} tokens; set a longer "
            "--context-length"
        )
    sides = [s for s, _ in kept], [t for _, t in kept]
    return EncodedPairs(*sides, Vocabulary.of(tokenizer), len(pairs) - len(kept))


class PairLoader:
    """Batches of `batch_size` pairs over all ranks, the same for any interruption.

    Step s takes batch s mod `batches` of epoch s div `batches`; of its rows, which are sorted by length, rank
    r takes every `world_size`-th. The pairs that do not fill an epoch's last batch, others in each epoch,
    wait. Raises InputError for fewer pairs than a batch, and a batch that cannot be shared out evenly.
    """

    def __init__(
        self, pairs: EncodedPairs, batch_size: int, *, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        if batch_size < 1 or not 0 <= rank < world_size or not 0 <= seed < 2**64:
            raise InputError(
                f"batch_size {batch_size}, rank {rank} of {world_size}, seed {seed}: expected a size of at "
                "least 1, a rank below the world size, a seed of 0 or more"
            )
        if batch_size % world_size:
            raise InputError(
                f"a batch of {batch_size} pairs cannot be shared out evenly over {world_size} processes; "
                f"choose a multiple of {world_size}"
            )
        if len(pairs) < batch_size:
            raise InputError(
                f"{len(pairs):,} pairs are fewer than one batch of {batch_size}; give more, or a smaller "
                "batch_size"
            )
        self.pairs, self.batch_size, self.seed = pairs, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.batches = len(pairs) // batch_size  # per epoch
        self.position = 0  # batches taken so far
        self._lengths = _lengths(pairs)
        self._epoch: tuple[int, Int64s] | None = None
        self._corpus = _fingerprint(pairs)

    @property
    def epochs(self) -> float:
        """How many times the pairs have been gone through, in parts of an epoch."""
        return self.position / self.batches

    def next_batch(self) -> dict[str, Tensor]:
        """This rank's rows of the next step."""
        epoch, number = divmod(self.position, self.batches)
        self.position += 1
        return self.pairs.batch(self._rows(epoch)[number, self.rank :: self.world_size])

    def state_dict(self) -> dict[str, Any]:
        """The cursor, and what it is only valid for."""
        return {"position": self.position} | self._identity()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; InputError where seed, batch size or pairs differ."""
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise InputError(
                    f"the saved run read its pairs with {name} {state.get(name)}, but now it is {value}; "
                    "resume with the same data and settings, or start a new run"
                )
        self.position = int(state["position"])

    def _identity(self) -> dict[str, Any]:
        return {"seed": self.seed, "batch_size": self.batch_size, "corpus": self._corpus}

    def _rows(self, epoch: int) -> Int64s:
        """Which pairs make each batch of an epoch: (batches, batch_size)."""
        if self._epoch is None or self._epoch[0] != epoch:
            order = _permutation(len(self.pairs), self.seed, 2 * epoch)[: self.batches * self.batch_size]
            pools = np.arange(len(order)) // (POOL * self.batch_size)
            both, longer = (lengths[order] for lengths in self._lengths)
            rows = order[np.lexsort((both, longer, pools))].reshape(self.batches, self.batch_size)
            self._epoch = epoch, rows[_permutation(self.batches, self.seed, 2 * epoch + 1)]
        return self._epoch[1]


def _lengths(pairs: EncodedPairs) -> tuple[Int64s, Int64s]:
    """Keys to sort by, the last counting most, as numpy's lexsort has it: both sides' length, the longer's.

    By the longer side 10 % of Multi30k's batches of 256 are padding, by the source's 17 %.
    """
    source, target = (np.array([len(ids) for ids in side], np.int64) for side in (pairs.source, pairs.target))
    return source + target, np.maximum(source, target)


def _padded(rows: list[list[int]], padding: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [padding] * (width - len(row)) for row in rows])


def _fingerprint(pairs: EncodedPairs) -> str:
    """What tells whether the pairs are the same, in the same order."""
    digest = sha256()
    for side in (pairs.source, pairs.target):
        for ids in side:
            digest.update(np.array([len(ids), *ids], np.int32).tobytes())
    return digest.hexdigest()[:16]


def _permutation(n: int, seed: int, stream: int) -> Int64s:
    # Sorted random keys: numpy keeps the bits of Philox, but not what its Generator makes of them.
    keys = np.random.Philox(key=np.array([seed, stream], np.uint64)).random_raw(n)
    return np.argsort(keys, kind="stable")
