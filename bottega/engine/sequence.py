"""One request on its way through the engine: its tokens, and where their keys and values lie."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from bottega.engine.constraints import Constraint
from bottega.engine.lookup import Lookup
from bottega.engine.request import Request
from bottega.nn.sampling import Row
from bottega.nn.steps import Token


@dataclass(eq=False)
class Sequence:
    """A request with its state. `limit` is how many tokens it may draw, `arrival` its place in the queue."""

    id: int
    request: Request
    row: Row
    limit: int
    arrival: int
    constraint: Constraint | None = None  # its grammar
    lookup: Lookup | None = None  # where its tokens are drafted from
    tokens: list[int] = field(default_factory=list)  # prompt and output
    slot: int | None = None  # its line in the scheduler's tables while it runs
    blocks: list[int] = field(default_factory=list)
    computed: int = 0  # tokens whose keys and values the blocks hold
    scored: list[Token] = field(default_factory=list)  # the prompt's tokens with their log-probabilities
    states: list[Tensor] = field(default_factory=list)  # the prompt's last states, where they are embedded
    admitted: bool = False  # it ran before, be it that it was preempted
    cached: int = 0  # tokens of its prompt whose keys and values were there when it was admitted first
    opened: bool = False  # its first step was given

    def __post_init__(self) -> None:
        self.tokens = [*self.row.prompt]

    @property
    def pending(self) -> int:
        """Tokens whose keys and values are still to be computed; the logits of the last are sampled from."""
        return len(self.tokens) - self.computed

    @property
    def reads_prompt(self) -> bool:
        """Whether the states of all prompt tokens are still needed: nothing found may stand for them."""
        return not self.opened and (self.request.score_prompt or self.request.embed)

    def take(self, token: int) -> None:
        """Put a drawn token behind the others."""
        self.tokens.append(token)
        self.row.output.append(token)
        if self.constraint is not None:
            self.constraint.advance(token)

    def restart(self) -> None:
        """Lose what was computed, not what was drawn."""
        self.slot, self.blocks, self.computed = None, [], 0
        self.scored.clear()
        self.states.clear()

    def draft(self, count: int) -> list[int]:
        """Up to `count` tokens that may come next; none where a grammar would have to follow them."""
        count = min(count, self.limit - len(self.row.output) - 1)
        if self.lookup is None or self.constraint is not None or count < 1:
            return []
        return self.lookup.continuation(self.tokens, count)
