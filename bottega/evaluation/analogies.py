"""Questions of the form "a is to b as c is to ?", of which a model of words gets a share right.

Mikolov, Chen, Corrado and Dean (2013a, section 4.1) asked 19,544 of them; their questions need the words of a
large newspaper corpus. These are ours: common words, in groups of pairs that stand in one relation, and only
those are asked whose four words a model knows. So the share says something about a model's own text, and
compares models only that were trained on the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Each group is pairs of one relation: a1 b1, a2 b2, …
RELATIONS = {
    "capital": """paris france london england berlin germany rome italy madrid spain moscow russia tokyo japan
        vienna austria athens greece beijing china cairo egypt lisbon portugal dublin ireland
        warsaw poland""",
    "people": """france french england english germany german italy italian spain spanish russia russian
        japan japanese austria austrian greece greek china chinese egypt egyptian ireland irish poland polish
        portugal portuguese""",
    "woman": """man woman boy girl king queen prince princess father mother son daughter brother sister
        husband wife uncle aunt he she his her himself herself actor actress""",
    "plural": """game games team teams player players year years book books song songs car cars ship ships
        building buildings function functions value values name names file files type types method methods
        object objects number numbers element elements argument arguments index indices""",
    "past": """play played call called move moved create created use used return returned follow followed
        raise raised pass passed write wrote take took give gave begin began go went make made see saw
        win won lose lost""",
    "participle": """play playing call calling move moving create creating use using return returning
        follow following raise raising pass passing write writing take taking give giving read reading
        make making run running""",
    "third person": """play plays call calls move moves create creates use uses return returns follow follows
        raise raises pass passes write writes take takes give gives read reads make makes run runs""",
    "comparative": """large larger small smaller long longer short shorter high higher low lower
        great greater few fewer late later early earlier old older young younger strong stronger""",
    "superlative": """large largest small smallest long longest short shortest high highest low lowest
        great greatest late latest early earliest old oldest young youngest strong strongest""",
    "opposite": """first last minimum maximum start end left right upper lower true false before after
        more less input output row column positive negative above below open close north south east west""",
}


class Vectors(Protocol):
    """What a model of words has: `vectors[ids[word]]` is the vector of a word."""

    vectors: NDArray[np.float32]
    ids: dict[str, int]


@dataclass(frozen=True)
class Answers:
    """How many questions of each relation were answered right, of how many."""

    right: Mapping[str, int]
    asked: Mapping[str, int]

    @property
    def share(self) -> float:
        """Of all questions together; 0 where none could be asked."""
        return sum(self.right.values()) / max(1, sum(self.asked.values()))


def measure_analogies(model: Vectors, most_frequent: int = 30_000) -> Answers:
    """Ask every pair of pairs of a relation, both ways, for the nearest to b − a + c among the most frequent.

    The three words of a question are no answers to it, as in the paper.
    """
    vectors = model.vectors[:most_frequent]
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    right, asked = {}, {}
    for relation, text in RELATIONS.items():
        words = text.split()
        pairs = [
            (model.ids[a], model.ids[b])
            for a, b in zip(words[::2], words[1::2], strict=True)
            if max(model.ids.get(a, most_frequent), model.ids.get(b, most_frequent)) < len(vectors)
        ]
        questions = np.array([(*one, *other) for one, other in permutations(pairs, 2)], dtype=int)
        if not len(questions):
            continue
        a, b, c, d = questions.T
        cosines = (directions[b] - directions[a] + directions[c]) @ directions.T
        for word in (a, b, c):
            cosines[np.arange(len(questions)), word] = -np.inf
        right[relation] = int((cosines.argmax(1) == d).sum())
        asked[relation] = len(questions)
    return Answers(right, asked)
