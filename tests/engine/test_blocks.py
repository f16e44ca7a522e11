"""The pool of blocks: nobody's block is given away, equal prefixes are shared, different ones never."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bottega.engine.blocks import BlockPool, blocks_for
from bottega.engine.paged_attention import BLOCK


def tokens(*kinds: int) -> list[int]:
    """A block of equal tokens for each of `kinds`."""
    return [kind for kind in kinds for _ in range(BLOCK)]


def known(pool: BlockPool, text: list[int], salt: str = "") -> list[int]:
    """Blocks that hold `text` and can be found."""
    held = pool.allocate(len(text) // BLOCK)
    assert held is not None
    for index in range(len(held)):
        pool.remember(salt, text, held, index)
    return held


def test_blocks_for() -> None:
    assert [blocks_for(n) for n in (0, 1, BLOCK, BLOCK + 1)] == [0, 1, 1, 2]


def test_all_or_none_is_given() -> None:
    pool = BlockPool(3)
    assert pool.allocate(4) is None
    held = pool.allocate(3)
    assert held is not None and sorted(held) == [0, 1, 2]
    assert (pool.available, pool.used) == (0, 3)
    assert pool.allocate(1) is None
    pool.release(held)
    assert (pool.available, pool.used) == (3, 0)


def test_a_known_prefix_is_found_and_held_while_its_holder_is_gone() -> None:
    pool, text = BlockPool(4), tokens(1, 2, 3)
    held = known(pool, text)
    pool.release(held)
    assert pool.available == 4
    assert pool.match("", tokens(1, 2, 4), 3 * BLOCK) == held[:2]
    assert pool.available == 2
    assert pool.match("", text, 3 * BLOCK - 1) == held[:2]  # only what is asked for
    assert pool.match("", tokens(2), BLOCK) == []  # a block is known behind its prefix only


def test_prefixes_of_different_salts_are_different() -> None:
    pool, text = BlockPool(4), tokens(1, 2)
    held = known(pool, text, "ada")
    assert pool.match("grace", text, 2 * BLOCK) == []
    assert pool.match("ada", text, 2 * BLOCK) == held


def test_equal_tokens_behind_different_prefixes_are_different() -> None:
    pool = BlockPool(4)
    one, other = known(pool, tokens(1, 9)), known(pool, tokens(2, 9))
    assert pool.match("", tokens(1, 9), 2 * BLOCK) == one
    assert pool.match("", tokens(2, 9), 2 * BLOCK) == other


def test_tokens_are_compared_where_hashes_are_equal() -> None:
    pool = BlockPool(4)
    assert hash(-1) == hash(-2)  # the one collision that Python promises
    known(pool, tokens(-1))
    assert pool.match("", tokens(-2), BLOCK) == []


def test_what_was_let_go_first_is_forgotten_first_and_ends_before_beginnings() -> None:
    pool = BlockPool(4)
    old, new = known(pool, tokens(1, 2)), known(pool, tokens(3, 4))
    pool.release(old)
    pool.release(new)
    assert pool.allocate(1) == [old[1]]
    assert pool.match("", tokens(1, 2), 2 * BLOCK) == old[:1]  # held, so the next is of the younger
    assert pool.allocate(1) == [new[1]]
    assert pool.match("", tokens(3, 4), 2 * BLOCK) == new[:1]
    assert pool.allocate(1) is None


def test_a_copy_gives_way_to_the_block_that_is_known() -> None:
    pool = BlockPool(5)
    first, copy = known(pool, tokens(1, 2)), known(pool, tokens(1, 2))
    assert copy == first
    assert pool.used == 2
    pool.release(first)
    assert pool.used == 2  # the other still holds them
    pool.release(copy)
    assert pool.used == 0


def test_a_forgotten_beginning_is_not_taken_for_another() -> None:
    """The end of an old prefix must not be found behind a new block with the same place."""
    pool = BlockPool(2)
    pool.release(known(pool, tokens(1, 2)))
    held = known(pool, tokens(3))
    assert pool.match("", tokens(3, 2), 2 * BLOCK) == held


def test_forget() -> None:
    pool = BlockPool(3)
    held = known(pool, tokens(1, 2))
    pool.release(held[1:])
    pool.forget()
    assert pool.match("", tokens(1, 2), 2 * BLOCK) == []
    pool.release(held[:1])
    assert pool.available == 3


class Pool(RuleBasedStateMachine):
    """Random holders; what they find must be what they would have computed."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(8)
        self.content: dict[int, tuple[str, list[int]]] = {}  # what was computed into each block: its prefix
        self.held: list[list[int]] = []

    @rule(kinds=st.lists(st.integers(0, 2), min_size=1, max_size=4), salt=st.sampled_from(["", "ada"]))
    def enter(self, kinds: list[int], salt: str) -> None:
        text = tokens(*kinds)
        found = self.pool.match(salt, text, len(text))
        for index, block in enumerate(found):
            assert self.content[block] == (salt, text[: (index + 1) * BLOCK])
        new = self.pool.allocate(len(kinds) - len(found))
        if new is None:
            self.pool.release(found)
            return
        blocks = found + new
        for index in range(len(found), len(kinds)):
            self.content[blocks[index]] = (salt, text[: (index + 1) * BLOCK])
            self.pool.remember(salt, text, blocks, index)
        self.held.append(blocks)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.held:
            self.pool.release(self.held.pop(data.draw(st.integers(0, len(self.held) - 1))))

    @invariant()
    def every_block_is_held_or_free(self) -> None:
        assert self.pool.used == len({block for blocks in self.held for block in blocks})


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("most", [0, BLOCK - 1])
def test_less_than_a_block_is_never_found(most: int) -> None:
    pool = BlockPool(2)
    known(pool, tokens(1))
    assert pool.match("", tokens(1), most) == []
