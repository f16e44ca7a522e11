"""How often a classifier names the right label, on labelled texts that it has not seen. Without torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bottega.errors import InputError

if TYPE_CHECKING:
    from bottega.data.labelled import Labelled
    from bottega.models.abilities import Classifies

_AT_ONCE = 256  # texts


@dataclass(frozen=True)
class Accuracy:
    """`correct` of `count` labels are right; `commonest` of them are the label that most texts have."""

    correct: int
    count: int
    commonest: int

    @property
    def share(self) -> float:
        """The share of labels that are right."""
        return self.correct / self.count

    @property
    def baseline(self) -> float:
        """The share that would be right if every text were given the commonest label."""
        return self.commonest / self.count


def measure_accuracy(model: Classifies, examples: Labelled) -> Accuracy:
    """Count the texts whose likeliest class is their label; a label unknown to the model is a miss.

    Raises InputError where there is no text, or the model knows none of the labels.
    """
    if not examples.labels:
        raise InputError("there is no text to measure the classifier on; give some more")
    counts = Counter(examples.labels)
    if not counts.keys() & set(model.classes):
        raise InputError(
            f"the labels are {_some(sorted(counts))}, but the model knows {_some(model.classes)}; "
            "measure it on data of the kind that it was trained on"
        )
    correct = 0
    for first in range(0, len(examples), _AT_ONCE):
        chosen = np.argmax(model.predict_proba(examples.texts[first : first + _AT_ONCE]), axis=1)
        labels = examples.labels[first : first + _AT_ONCE]
        correct += sum(model.classes[best] == label for best, label in zip(chosen, labels, strict=True))
    return Accuracy(correct, len(examples), counts.most_common(1)[0][1])


def held_out_line(model: Classifies, examples: Labelled) -> str:
    """How right a newly trained model is on held-out texts, in words; or why that cannot be said."""
    if not examples.labels:
        return "none held out, too few texts"
    if not set(examples.labels) & set(model.classes):
        return f"its {len(examples):,} held-out texts have other labels, so it was not measured"
    accuracy = measure_accuracy(model, examples)
    return (
        f"of {accuracy.count:,} held-out texts {accuracy.share:.1%} right "
        f"({accuracy.baseline:.1%} with the commonest label)"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")
