"""What a model can do beside `loss`, in the field's own words; a caller asks with isinstance.

Scores are in nats and say their kind: `exact`, or how they were bounded or estimated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


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


@dataclass(frozen=True)
class LogLikelihood:
    """Log p of each picture in nats, (n,), and how it was come by.

    `exact`; a lower bound (`elbo`) or its tightening by importance sampling (`importance`), which is below
    the truth on average; with the partition function estimated by annealed importance sampling (`ais`); or
    not a log p at all, the `pseudo` one. `error` is one standard error of the estimate of the mean.
    `density`: p is a density of grey values in [0, 1], so its log may be above 0; else it is the probability
    of binary pictures. The two are never compared.
    """

    nats: NDArray[np.float64]
    kind: Literal["exact", "elbo", "importance", "ais", "pseudo"]
    error: float = 0.0
    density: bool = False

    @property
    def mean(self) -> float:
        """Nats a picture."""
        return float(self.nats.mean())


@runtime_checkable
class SeesPictures(Protocol):
    """Any model of pictures, (n, channels, height, width) in [0, 1]: it knows of what shape."""

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        ...


@runtime_checkable
class SamplesPictures(SeesPictures, Protocol):
    """Draws pictures."""

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """N pictures in [0, 1]; the same seed gives the same ones."""
        ...


@runtime_checkable
class ScoresPictures(SeesPictures, Protocol):
    """Says how probable pictures are."""

    @property
    def scores_density(self) -> bool:
        """Whether that is a density of grey values, not the probability of pictures of zeros and ones."""
        ...

    def score(self, pictures: Tensor) -> LogLikelihood:
        """Log p of each."""
        ...


@runtime_checkable
class ReconstructsPictures(SeesPictures, Protocol):
    """Draws a picture again from what it has made of it."""

    def reconstruct(self, pictures: Tensor) -> Tensor:
        """As many pictures of the same shape."""
        ...


@runtime_checkable
class EncodesPictures(SeesPictures, Protocol):
    """Turns pictures into codes, and codes into pictures."""

    def encode(self, pictures: Tensor) -> Tensor:
        """Codes (n, width)."""
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """Pictures of codes (n, width)."""
        ...


@runtime_checkable
class InterpolatesPictures(SeesPictures, Protocol):
    """Draws what lies between two pictures."""

    def interpolate(self, a: Tensor, b: Tensor, n: int) -> Tensor:
        """Pictures from `a` to `b`, (channels, height, width) each, as the model draws them."""
        ...


@runtime_checkable
class ClassifiesPictures(SeesPictures, Protocol):
    """Tells which of its classes a picture shows."""

    classes: Sequence[str]

    def predict_proba(self, pictures: Tensor) -> NDArray[np.floating]:
        """Probabilities (picture, class); every row sums to 1."""
        ...


@runtime_checkable
class HasFeatures(SeesPictures, Protocol):
    """Has a first layer whose filters can be looked at."""

    def features(self) -> Tensor:
        """Filters (n, channels, height, width), of any range."""
        ...


@runtime_checkable
class RunsChains(SeesPictures, Protocol):
    """Wanders from picture to picture by Gibbs sampling."""

    def chain(self, start: Tensor | int, steps: int, every: int, seed: int = 0) -> Tensor:
        """Chains (kept, n, channels, height, width) from pictures or so many draws of noise: the start, then
        each `every` steps."""
        ...


@runtime_checkable
class EmbedsPictures(SeesPictures, Protocol):
    """Has a layer in which pictures that show the same lie near each other, for distances between sets."""

    def embed(self, pictures: Tensor) -> Tensor:
        """States (n, width)."""
        ...


@runtime_checkable
class SegmentsPictures(SeesPictures, Protocol):
    """Tells which of its classes each pixel shows."""

    classes: Sequence[str]

    def segment(self, pictures: Tensor) -> Tensor:
        """The number of a class for each pixel: (n, height, width)."""
        ...
