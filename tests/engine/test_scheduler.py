"""The scheduler alone: what it plans, for whom, in which order, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence as Listed
from typing import Any

from bottega.engine.blocks import BlockPool
from bottega.engine.paged_attention import BLOCK
from bottega.engine.request import Request
from bottega.engine.scheduler import ALONE, Scheduler
from bottega.engine.sequence import Sequence
from bottega.engine.settings import EngineSettings
from bottega.nn.sampling import Row
from bottega.nn.sampling_params import SamplingParams


class Desk:
    """A scheduler whose plans are carried out without a model: token 7 is always drawn."""

    def __init__(self, blocks: int = 64, **settings: Any) -> None:
        self.copies: list[tuple[int, int]] = []
        self.pool = BlockPool(blocks)
        copy = lambda source, target: self.copies.append((source, target))  # noqa: E731
        self.scheduler = Scheduler(self.pool, copy, EngineSettings(**settings), blocks * BLOCK)
        self.sequences: list[Sequence] = []

    def add(self, prompt: Listed[int], **fields: Any) -> Sequence:
        """A request that never ends."""
        row = Row(list(prompt), SamplingParams(seed=0))
        request = Request(row.prompt, row.params, **fields)
        self.sequences.append(Sequence(len(self.sequences), request, row, 10_000, len(self.sequences)))
        self.scheduler.add(self.sequences[-1])
        return self.sequences[-1]

    def step(self) -> list[tuple[int, int]]:
        """(sequence, tokens) of the next step."""
        spans = self.scheduler.plan()
        for span in spans:
            self.scheduler.computed(span.sequence, span.count)
            if not span.sequence.pending:
                span.sequence.take(7)
        for sequence in self.scheduler.running:  # what the tables say is what the sequences hold
            assert self.scheduler.tables[sequence.slot, : len(sequence.blocks)].tolist() == sequence.blocks
        return [(span.sequence.id, span.count) for span in spans]


def test_a_long_prompt_comes_whole_alone_and_in_chunks_beside_others() -> None:
    desk = Desk(chunk=50)
    desk.add(range(ALONE + 10))
    assert [desk.step(), desk.step(), desk.step()] == [[(0, ALONE)], [(0, 10)], [(0, 1)]]
    desk.add(range(1000, 1120))
    assert [desk.step() for _ in range(4)] == [
        [(0, 1), (1, 50)],
        [(0, 1), (1, 50)],
        [(0, 1), (1, 20)],
        [(0, 1), (1, 1)],
    ]


def test_a_chunk_is_shared_in_the_order_of_arrival_and_grows_with_those_who_decode() -> None:
    desk = Desk(chunk=2)
    for number in range(4):
        desk.add([number])
    assert desk.step() == [(0, 1), (1, 1), (2, 1), (3, 1)]
    desk.add([10] * 30)
    desk.add([20] * 40)
    # Three for each of the four who decode, eight for each of the two who wait for their first token.
    assert desk.step()[4:] == [(4, 28)]
    assert desk.step()[4:] == [(4, 2), (5, 26)]
    assert desk.step()[4:] == [(4, 1), (5, 14)]  # five decode, one waits


def test_no_more_than_slots_run() -> None:
    desk = Desk(slots=2)
    for number in range(3):
        desk.add([number])
    assert [desk.step(), desk.step()] == [[(0, 1), (1, 1)], [(0, 1), (1, 1)]]
    desk.scheduler.remove(desk.sequences[0])
    assert desk.step() == [(1, 1), (2, 1)]


def test_the_youngest_gives_way_and_comes_back_before_those_who_never_ran() -> None:
    desk = Desk(blocks=4)
    old, young = desk.add([1] * (BLOCK - 1)), desk.add([2] * (BLOCK - 1))
    desk.step()
    desk.add([3] * BLOCK * 2)  # too much for what is left
    while desk.scheduler.preemptions == 0:
        assert young in desk.scheduler.running
        desk.step()
    assert desk.scheduler.running == [old]
    assert [sequence.id for sequence in desk.scheduler.waiting] == [1, 2]
    kept = len(young.row.output)
    assert kept > 0 and (young.computed, young.blocks, young.slot) == (0, [], None)
    desk.scheduler.remove(old)
    desk.step()
    assert young in desk.scheduler.running
    assert young.pending == 1
    assert len(young.row.output) == kept + 1
    desk.scheduler.remove(young)
    desk.scheduler.remove(desk.sequences[2])
    assert desk.pool.used == 0


def test_the_second_of_two_alike_waits_for_the_first_and_copies_the_begun_block() -> None:
    desk = Desk()
    prompt = list(range(ALONE + 100))
    first, second, other = desk.add(prompt), desk.add(prompt), desk.add([5] * 20)
    assert desk.step() == [(0, ALONE)]
    assert desk.step() == [(0, 100), (2, 20)]  # who is not alike does not wait
    assert desk.step() == [(0, 1), (2, 1), (1, 1)]
    assert second.blocks[:9] == first.blocks[:9]
    assert desk.copies == [(first.blocks[9], second.blocks[9])]
    assert other.blocks[0] not in first.blocks


def test_no_one_waits_for_a_like_prompt_of_another_salt() -> None:
    desk = Desk()
    prompt = list(range(300))
    desk.add(prompt, salt="ada")
    desk.add(prompt, salt="grace")
    assert desk.step() == [(0, 300), (1, ALONE - 300)]
    assert desk.copies == []


def test_a_prompt_whose_states_are_needed_is_computed_whole() -> None:
    desk = Desk(chunk=32)
    prompt = list(range(200))
    desk.add(prompt)
    desk.step()
    scored = desk.add(prompt, score_prompt=True)
    desk.add(prompt, embed=True)
    assert desk.step()[1:] == [(1, 32)]
    assert scored.computed == 32
    assert desk.scheduler.prefix_hit_tokens == 0
