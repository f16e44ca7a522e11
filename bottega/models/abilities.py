"""What a model can do beside `loss`, in the field's own words; a caller asks with isinstance.

Scores are in nats and say their kind: `exact`, or how they were bounded or estimated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class Classifies(Protocol):
    """Tells which of its classes a text belongs to."""

    classes: Sequence[str]

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.floating]:
        """Probabilities (text, class); every row sums to 1."""
        ...


@runtime_checkable
class Encodes(Protocol):
    """Turns texts into vectors that lie near each other where the texts mean alike."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (text, width)."""
        ...


@runtime_checkable
class PredictsTokens(Protocol):
    """A language model: it says how probable each token of a document is after those before it, exactly."""

    def log_probs(self, ids: Sequence[int], end_of_text: int) -> NDArray[np.float64]:
        """Nats of each token of a document and of its end: (len(ids) + 1,)."""
        ...
