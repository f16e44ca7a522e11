"""From token shards to streams: row r of each batch goes on where row r of the batch before it ended.

This is how recurrent networks read: the state that they are left in after a batch is the one to begin the
next with. The stream of an epoch, `<eot> document <eot> … document <eot>` in an order that depends on
(seed, epoch) alone, is cut into `batch_size` rows of equal length, which are read side by side. As in
`loader`, nothing is written out and the cursor is one integer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bottega.data.loader import Stream, as_batch, permutation, read_rows
from bottega.data.shard_files import TokenShards
from bottega.errors import InputError


class StreamLoader:
    """Batches for truncated back-propagation through time, the same for any number of ranks.

    A batch has `ids` and `targets`, (batch_size / world_size, context_length), where an end-of-text token
    stands between documents; `rows`, the number of each row's stream among all `batch_size`; and `fresh`,
    True where a stream begins, which is at each epoch's first step. Each token and each end_of_text is a
    target exactly once an epoch; what a stream's last window lacks is IGNORE.

    Raises `InputError` where the streams are shorter than one context, or the batch cannot be shared out
    evenly.
    """

    def __init__(
        self,
        shards: TokenShards,
        context_length: int,
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        if context_length < 1 or batch_size < 1 or not 0 <= rank < world_size or not 0 <= seed < 2**64:
            raise InputError(
                f"context_length {context_length}, batch_size {batch_size}, rank {rank} of {world_size}, "
                f"seed {seed}: expected sizes of at least 1, a rank below the world size, a seed of 0 or more"
            )
        if batch_size % world_size:
            raise InputError(
                f"a batch of {batch_size} sequences cannot be shared out evenly over {world_size} processes; "
                f"choose a multiple of {world_size}"
            )
        self.targets = shards.n_tokens + shards.n_documents
        if self.targets < batch_size * context_length:
            raise InputError(
                f"the corpus has {self.targets:,} tokens, less than {batch_size} streams of one context of "
                f"{context_length:,}; give more text, a smaller batch or a shorter context"
            )
        self.shards, self.context_length, self.batch_size, self.seed = (
            shards,
            context_length,
            batch_size,
            seed,
        )
        share = batch_size // world_size
        self.streams = np.arange(rank * share, (rank + 1) * share)
        self.length = -(-self.targets // batch_size)  # targets of a stream
        self.steps = -(-self.length // context_length)  # of an epoch
        self.position = 0  # steps taken
        self._epoch: tuple[int, Stream] | None = None

    @property
    def epochs(self) -> float:
        """How many times the corpus has been gone through, in parts of an epoch."""
        return self.position / self.steps

    def next_batch(self) -> dict[str, Tensor]:
        """This rank's rows of the next step."""
        epoch, step = divmod(self.position, self.steps)
        self.position += 1
        end = np.minimum((self.streams + 1) * self.length, self.targets)
        begin = np.minimum(self.streams * self.length + step * self.context_length, end)
        end = np.minimum(begin + self.context_length, end) + 1
        width, padding = self.context_length + 1, self.shards.end_of_text
        rows, lengths = read_rows(self._stream(epoch), begin, width, padding, end)
        return as_batch(rows, lengths) | {
            "rows": torch.from_numpy(self.streams),
            "fresh": torch.full((len(self.streams),), step == 0),
        }

    def state_dict(self) -> dict[str, Any]:
        """The cursor, and what it is only valid for."""
        return {"position": self.position} | self._identity()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; raises `InputError` if the settings or the corpus differ."""
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise InputError(
                    f"the saved run read its data with {name} {state.get(name)}, but now it is {value}; "
                    "resume with the same data and settings, or start a new run"
                )
        self.position = int(state["position"])

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "context_length": self.context_length,
            "streams": self.batch_size,
            "corpus": self.shards.fingerprint,
        }

    def _stream(self, epoch: int) -> Stream:
        if self._epoch is None or self._epoch[0] != epoch:
            order = permutation(self.shards.n_documents, self.seed, 2 * epoch)
            self._epoch = epoch, Stream(self.shards, order)
        return self._epoch[1]
