"""The blocks of the KV cache: who holds which, and which are kept because a later prompt may begin alike.

The pool deals in numbers; the tensors behind them are `paged_cache`'s.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from bottega.engine.paged_attention import BLOCK

# A full block is known by its parent's serial number, or by the salt where it is the first, and its tokens.
# A dictionary hashes the pair and then compares it, and no serial is given twice: two different prefixes
# are never taken for one another, whatever their hashes.
Key = tuple[int | str, tuple[int, ...]]


@dataclass
class _Known:
    """A full block that can be found again."""

    key: Key
    serial: int


class BlockPool:
    """`total` blocks of `BLOCK` tokens: reference counts, and the prefixes that are kept.

    A known block that nobody holds stays until its place is needed; the one that was let go first goes first.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = list(range(total))[::-1]  # blocks that hold nothing
        self._holders = [0] * total
        self._known: dict[int, _Known] = {}
        self._found: dict[Key, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()  # known blocks without a holder, the oldest first
        self._serials = 0

    @property
    def available(self) -> int:
        """Blocks that nobody holds."""
        return len(self._free) + len(self._idle)

    @property
    def used(self) -> int:
        """Blocks that somebody holds."""
        return self.total - self.available

    def allocate(self, count: int) -> list[int] | None:
        """`count` blocks for a new holder, or None where there are not so many."""
        if count > self.available:
            return None
        return [self._take() for _ in range(count)]

    def release(self, blocks: Sequence[int]) -> None:
        """Let go of a sequence's blocks, in the order of the sequence."""
        # From the end: what ends a prefix is forgotten before what begins it, or it could not be found.
        for block in reversed(blocks):
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if block in self._known:
                self._idle[block] = None
            else:
                self._free.append(block)

    def match(self, salt: str, tokens: Sequence[int], most: int) -> list[int]:
        """The blocks that hold the keys and values of up to `most` tokens' beginning; held from now on."""
        held: list[int] = []
        parent: int | str = salt
        for start in range(0, most // BLOCK * BLOCK, BLOCK):
            block = self._found.get((parent, tuple(tokens[start : start + BLOCK])))
            if block is None:
                break
            self._hold(block)
            held.append(block)
            parent = self._known[block].serial
        return held

    def remember(self, salt: str, tokens: Sequence[int], blocks: list[int], index: int) -> None:
        """Make the full block number `index` of a sequence known; those before it must be.

        Where an equal prefix is known already, the sequence takes that block in the place of its own.
        """
        parent = self._known[blocks[index - 1]].serial if index else salt
        key = (parent, tuple(tokens[index * BLOCK : (index + 1) * BLOCK]))
        own, found = blocks[index], self._found.get(key)
        if found is None:
            self._serials += 1
            self._known[own] = _Known(key, self._serials)
            self._found[key] = own
        elif found != own:
            self._hold(found)
            blocks[index] = found
            self.release([own])

    def forget(self) -> None:
        """Know no prefix any more."""
        self._free += self._idle
        self._idle.clear()
        self._known.clear()
        self._found.clear()

    def _hold(self, block: int) -> None:
        self._holders[block] += 1
        self._idle.pop(block, None)

    def _take(self) -> int:
        if self._free:
            block = self._free.pop()
        else:
            block, _ = self._idle.popitem(last=False)
            del self._found[self._known.pop(block).key]
        self._holders[block] = 1
        return block


def blocks_for(tokens: int) -> int:
    """How many blocks hold so many tokens."""
    return -(-tokens // BLOCK)
