"""Who computes what in the next step: decodes first, then prompts in chunks, in the order of arrival."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from bottega.engine.blocks import BlockPool, blocks_for
from bottega.engine.paged_attention import BLOCK
from bottega.engine.sequence import Sequence
from bottega.engine.settings import EngineSettings

ALONE = 512  # prompt tokens a step where nobody decodes: enough to fill the machine, few enough to stop soon
SHARES = (3, 8)  # prompt tokens a step for each who decodes, and for each who waits for the first token
WORTH = 16  # tokens that it must save to wait for another sequence's beginning

_arrival = attrgetter("arrival")


@dataclass(frozen=True)
class Span:
    """What a step computes of one sequence: its `count` next tokens, and `drafts` behind the last of all."""

    sequence: Sequence
    count: int
    drafts: tuple[int, ...] = ()


class Scheduler:
    """Keeps who runs and who waits, both in the order of arrival, and gives them blocks.

    `copy` copies a block of the cache: (source, target). `tables` (slot, block) are the running sequences'.
    """

    def __init__(
        self, pool: BlockPool, copy: Callable[[int, int], None], settings: EngineSettings, longest: int
    ) -> None:
        self.pool, self.settings = pool, settings
        self.running: list[Sequence] = []
        self.waiting: list[Sequence] = []
        self.tables = np.zeros((settings.slots, blocks_for(longest)), np.int32)
        self.prefix_hit_tokens = self.prompt_tokens = self.preemptions = 0
        self._copy = copy
        self._slots = list(range(settings.slots))[::-1]

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence, finished or not; its blocks are free at once."""
        if sequence.slot is None:
            self.waiting.remove(sequence)
        else:
            self._stop(sequence)

    def plan(self) -> list[Span]:
        """The next step."""
        spans = self._decodes()
        # One prompt must not hold a step up by more than two more: its token costs a third to a half of one
        # that is decoded, and where few decode, the weights' way through the memory leaves room for `chunk`.
        # The more prompts there are, the less one answer may hold them all up.
        unread = len(self.running) - len(spans) + min(len(self.waiting), len(self._slots))
        shared = SHARES[0] * len(spans) + SHARES[1] * unread
        budget = max(self.settings.chunk, shared) if spans else ALONE
        reading = {span.sequence for span in spans}
        for sequence in self.running:
            if budget and sequence not in reading:
                spans.append(Span(sequence, min(budget, sequence.pending)))
                budget -= spans[-1].count
        for sequence in [*self.waiting] if budget else []:
            if not budget or not self._slots:
                break
            twin = self._twin(sequence)
            if twin is not None and twin.pending > 1 and twin.computed < agreement(sequence, twin):
                continue  # what it would compute, the other is about to have computed
            if not self._admit(sequence, twin):
                break
            spans.append(Span(sequence, min(budget, sequence.pending)))
            budget -= spans[-1].count
        return spans

    def computed(self, sequence: Sequence, count: int) -> None:
        """Count tokens of a sequence as computed; the blocks that are full now can be found."""
        before = sequence.computed // BLOCK
        sequence.computed += count
        if not self.settings.prefix_cache:
            return
        for index in range(before, sequence.computed // BLOCK):
            self.pool.remember(sequence.request.salt, sequence.tokens, sequence.blocks, index)
            self.tables[sequence.slot, index] = sequence.blocks[index]

    def _decodes(self) -> list[Span]:
        spans = []
        for sequence in [*self.running]:
            # One that reads its prompt has its blocks; one without a slot has just given way to an older one.
            if sequence.slot is None or sequence.pending > 1:
                continue
            if self._grow(sequence):
                drafts = sequence.draft(self.settings.speculate)
                spans.append(Span(sequence, 1, tuple(drafts[: self._spare(sequence, len(drafts))])))
        return spans

    def _grow(self, sequence: Sequence) -> bool:
        """Give a sequence room for its tokens, from younger ones if need be; False where it is preempted."""
        while blocks_for(len(sequence.tokens)) > len(sequence.blocks):
            if self._extend(sequence, 1):
                continue
            youngest = self.running[-1]
            self._preempt(youngest)
            if youngest is sequence:
                return False
        return True

    def _spare(self, sequence: Sequence, count: int) -> int:
        """Room for up to `count` drafts, as far as nobody needs to give way."""
        wanted = blocks_for(len(sequence.tokens) + count) - len(sequence.blocks)
        if wanted > 0:
            self._extend(sequence, wanted)
        return min(count, len(sequence.blocks) * BLOCK - len(sequence.tokens))

    def _extend(self, sequence: Sequence, count: int) -> bool:
        new = self.pool.allocate(count)
        if new is None:
            return False
        start = len(sequence.blocks)
        sequence.blocks += new
        self.tables[sequence.slot, start : start + count] = new
        return True

    def _twin(self, sequence: Sequence) -> Sequence | None:
        """The running sequence that begins like a waiting one for longest, beyond what is known to all."""
        if not self.settings.prefix_cache or sequence.reads_prompt or not self.running:
            return None
        others = [other for other in self.running if other.request.salt == sequence.request.salt]
        best = max(others, key=lambda other: agreement(sequence, other), default=None)
        return best if best is not None and agreement(sequence, best) >= WORTH else None

    def _admit(self, sequence: Sequence, twin: Sequence | None) -> bool:
        """Give a waiting sequence a slot and blocks for all its tokens; False where there are too few."""
        salt, tokens = sequence.request.salt, sequence.tokens
        known: list[int] = []
        if self.settings.prefix_cache and not sequence.reads_prompt:
            known = self.pool.match(salt, tokens, len(tokens) - 1)
        missing = blocks_for(len(tokens)) - len(known)
        # A block for each of the others, or whoever comes in would soon push them out.
        new = self.pool.allocate(missing) if missing + len(self.running) <= self.pool.available else None
        if new is None:
            self.pool.release(known)
            return False
        self.waiting.remove(sequence)
        bisect.insort(self.running, sequence, key=_arrival)
        sequence.slot, sequence.blocks = self._slots.pop(), known + new
        sequence.computed = len(known) * BLOCK
        if twin is not None:
            self._take_from(twin, sequence)
        self.tables[sequence.slot, : len(sequence.blocks)] = sequence.blocks
        if not sequence.admitted:
            self.prompt_tokens += len(tokens)
            sequence.cached = sequence.computed
            self.prefix_hit_tokens += sequence.cached
            sequence.admitted = True
        return True

    def _take_from(self, twin: Sequence, sequence: Sequence) -> None:
        """Copy the beginning of a block that is not full from a running sequence."""
        common = min(agreement(sequence, twin), twin.computed)
        index = sequence.computed // BLOCK
        if 0 < common - sequence.computed < BLOCK:
            self._copy(twin.blocks[index], sequence.blocks[index])
            sequence.computed = common

    def _preempt(self, sequence: Sequence) -> None:
        self._stop(sequence)
        sequence.restart()
        bisect.insort(self.waiting, sequence, key=_arrival)
        self.preemptions += 1

    def _stop(self, sequence: Sequence) -> None:
        assert sequence.slot is not None
        self.running.remove(sequence)
        self.pool.release(sequence.blocks)
        self._slots.append(sequence.slot)
        sequence.slot, sequence.blocks = None, []


def agreement(sequence: Sequence, other: Sequence) -> int:
    """How many tokens at the beginning of a sequence another can spare it; the last it computes itself."""
    a, b = sequence.tokens, other.tokens
    most = min(len(a) - 1, len(b))
    if a[:most] == b[:most]:
        return most
    return next(i for i in range(most) if a[i] != b[i])
