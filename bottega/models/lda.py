"""Latent Dirichlet allocation (Blei, Ng and Jordan 2003): documents mix topics, and topics mix words.

    φ_k ~ Dirichlet(η)  for each topic,   θ_d ~ Dirichlet(α)  for each document,
    z ~ θ_d, then w ~ φ_z  for each of its tokens.

Only the words are seen. The posterior of the topics is found by collapsed Gibbs sampling (`lda_gibbs`) or by
online variational Bayes (`lda_variational`). Without torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, no_type_check

import numpy as np
from jaxtyping import Float32, Float64
from numba import njit

from bottega.data.disk import atomic_file, disk_errors, write_json
from bottega.errors import InputError
from bottega.models.lda_gibbs import Gibbs, Progress, gibbs, joined
from bottega.models.lda_variational import OnlineBayes, online_bayes
from bottega.text.words import Preparation, Vocabulary

MODEL_TYPE = "bottega-lda"
_FILES = "config.json, model.safetensors and vocabulary.json"
_FOLD_STEPS, _FOLD_TOLERANCE = 200, 1e-5


@dataclass(frozen=True)
class LDAConfig:
    """The priors, and which words of a text are counted.

    Attributes:
        n_topics: K.
        alpha: of each topic in the prior of θ; the Gibbs sampler may go on to learn one for each.
        eta: of each word in the prior of φ.
        reduce: words as they are, their stems or their lemmas; with `language`, as in `Preparation`.
        stop_words: leave out "the", "of" and their like (English alone).
        min_length: shorter words and numbers are left out.
        min_documents: words that stand in fewer documents are left out.
        max_share: words that stand in a larger share of the documents are left out.
        max_words: of the rest the most frequent are kept, at most so many.
    """

    n_topics: int = 50
    alpha: int | float = 0.1
    eta: int | float = 0.01
    reduce: Literal["none", "stem", "lemma"] = "lemma"
    language: str = "english"
    stop_words: bool = True
    min_length: int = 3
    min_documents: int = 5
    max_share: int | float = 0.5
    max_words: int | None = None

    def __post_init__(self) -> None:
        if self.n_topics < 1:
            raise InputError(f"a topic model needs topics, not {self.n_topics}")
        if not (0 < self.alpha < np.inf and 0 < self.eta < np.inf):
            raise InputError(f"alpha is {self.alpha} and eta {self.eta}; expected numbers above 0")
        if self.min_documents < 1 or not 0 < self.max_share <= 1:
            raise InputError(
                f"words stand in at least {self.min_documents} documents and at most a share of "
                f"{self.max_share}; expected 1 or more, and a share above 0 up to 1"
            )
        if self.max_words is not None and self.max_words < 1:
            raise InputError(f"max_words is {self.max_words}; expected at least one")
        self.preparation()

    def preparation(self) -> Preparation:
        """How texts become words."""
        return Preparation(self.reduce, self.language, self.stop_words, self.min_length)


class LDA:
    """A topic model; `fit` makes one."""

    def __init__(
        self,
        config: LDAConfig,
        vocabulary: Vocabulary,
        weights: Float64[np.ndarray, "word topic"],
        alpha: Float64[np.ndarray, " topic"],
        steps: int = 0,
    ) -> None:
        self.config, self.vocabulary = config, vocabulary
        self.weights = weights
        """λ: the posterior of topic k is Dirichlet(λ_k), the prior and what was counted or expected."""
        self.alpha = alpha
        self.steps = steps
        """Sweeps or batches that it took; fewer than asked for after a Ctrl-C."""
        self.topics: Float64[np.ndarray, "word topic"] = weights / weights.sum(0)
        """φ, the posterior's mean: the probability of each word in each topic."""

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        config: LDAConfig | None = None,
        inference: Gibbs | OnlineBayes | None = None,
        progress: Progress | None = None,
    ) -> LDA:
        """Find the topics of texts; Ctrl-C keeps those found so far.

        Args:
            texts: the documents; those without a counted word say nothing.
            config: the priors, and which words count.
            inference: collapsed Gibbs sampling unless told otherwise.
            progress: told the sweeps or batches done, and all.

        Raises InputError where no word is left to count.
        """
        config = config or LDAConfig()
        return cls.fit_words(list(map(config.preparation(), texts)), config, inference, progress)

    @classmethod
    def fit_words(
        cls,
        documents: Sequence[Sequence[str]],
        config: LDAConfig,
        inference: Gibbs | OnlineBayes | None = None,
        progress: Progress | None = None,
    ) -> LDA:
        """`fit` on documents that are lists of words already."""
        vocabulary = Vocabulary.build(
            documents,
            min_documents=config.min_documents,
            max_share=config.max_share,
            size=config.max_words,
        )
        if not len(vocabulary):
            raise InputError(
                f"no word is left to count in {len(documents):,} documents: with min_documents "
                f"{config.min_documents} and max_share {config.max_share} all are left out; give more text, "
                "a lower min_documents or a higher max_share"
            )
        ids = [vocabulary.ids(document) for document in documents]
        ids = [document for document in ids if len(document)]
        alpha = np.full(config.n_topics, float(config.alpha))
        if isinstance(inference, OnlineBayes):
            counts = counted(ids, len(vocabulary))
            weights, steps = online_bayes(counts, alpha, float(config.eta), inference, progress)
        else:
            options = inference or Gibbs()
            weights, alpha, steps = gibbs(ids, len(vocabulary), alpha, float(config.eta), options, progress)
        return cls(config, vocabulary, weights, alpha, steps)

    def encode(self, texts: Sequence[str]) -> Float32[np.ndarray, "text topic"]:
        """θ of each text, its proportions of topics; α's own where the model knows no word of it."""
        prepare = self.config.preparation()
        return self.mixtures([self.vocabulary.ids(prepare(text)) for text in texts]).astype(np.float32)

    def mixtures(self, documents: Sequence[np.ndarray]) -> Float64[np.ndarray, "document topic"]:
        """θ of documents that are word ids."""
        return fold_in(documents, self.topics, self.alpha)

    def share(self) -> Float64[np.ndarray, " topic"]:
        """The share of the corpus that belongs to each topic."""
        found = self.weights.sum(0) - self.weights.shape[0] * self.config.eta
        return np.maximum(found, 0) / max(np.maximum(found, 0).sum(), 1e-100)

    def top_words(self, n: int = 10, relevance: int | float = 1.0) -> list[list[str]]:
        """The `n` words of each topic that are foremost by `relevance`; 1 orders them by probability."""
        best = np.argsort(-self.relevance(relevance), axis=0, kind="stable")[:n]
        return [[self.vocabulary.words[word] for word in column] for column in best.T]

    def relevance(self, weight: int | float = 0.6) -> Float64[np.ndarray, "word topic"]:
        """`weight` log φ_kw + (1 − `weight`) log(φ_kw / p_w), in nats: Sievert and Shirley (2014), eq. 1."""
        counts = np.array(self.vocabulary.counts, dtype=np.float64)
        return np.log(self.topics) - (1 - weight) * np.log(counts / counts.sum())[:, None]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model.safetensors, vocabulary.json and, last, config.json: each whole or not at all."""
        from safetensors.numpy import save

        folder = Path(folder)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        tensors = {"weights": self.weights, "alpha": self.alpha, "counts": np.array(self.vocabulary.counts)}
        with atomic_file(folder / "model.safetensors") as file:
            file.write(save(tensors))
        with atomic_file(folder / "vocabulary.json") as file:
            file.write(json.dumps(self.vocabulary.words, ensure_ascii=False).encode())
        settings = {"model_type": MODEL_TYPE, **asdict(self.config), "steps": self.steps}
        write_json(folder / "config.json", settings)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> LDA:
        """Read what `save_pretrained` wrote; InputError where it is something else, or damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        try:
            settings = json.loads((folder / "config.json").read_text("utf-8"))
            if settings["model_type"] != MODEL_TYPE:
                raise InputError(f"{folder} holds a {settings['model_type']!r}, not a topic model")
            config = LDAConfig(**{field.name: settings[field.name] for field in fields(LDAConfig)})
            words = json.loads((folder / "vocabulary.json").read_text("utf-8"))
            tensors = load_file(folder / "model.safetensors")
            _check(words, tensors, config)
            vocabulary = Vocabulary(tuple(words), tuple(tensors["counts"].tolist()))
            return cls(config, vocabulary, tensors["weights"], tensors["alpha"], int(settings["steps"]))
        except FileNotFoundError:
            raise InputError(f"{folder} lacks a file; a topic model's folder holds {_FILES}") from None
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{folder} is damaged ({reason}); train the model again") from None


def counted(documents: Sequence[np.ndarray], n_words: int) -> Any:
    """How often each word stands in each document, from word ids: `csr_matrix` (document, word), float64."""
    from scipy.sparse import csr_matrix

    starts, words = joined(documents)
    counts = csr_matrix((np.ones(len(words)), words, starts), (len(documents), n_words))
    counts.sum_duplicates()
    return counts


def fold_in(
    documents: Sequence[np.ndarray], topics: np.ndarray, alpha: np.ndarray
) -> Float64[np.ndarray, "document topic"]:
    """θ of documents, word ids, under topics (word, topic) that stay as they are.

    Expectation-maximisation for the documents' own proportions alone: every word is shared among the topics
    by θ_k φ_kw, and θ becomes the sums of these shares plus α, normalised, until it no longer moves. There is
    no randomness in it. A document without a word has the mean of its prior.
    """
    counts = counted(documents, len(topics))
    theta = np.tile(alpha / alpha.sum(), (len(documents), 1))
    _fold(counts.indptr, counts.indices, counts.data, np.ascontiguousarray(topics), alpha, theta)
    return theta


@njit(cache=True, nogil=True, fastmath=True)
@no_type_check
def _fold(starts, words, counts, topics, alpha, theta):
    n_topics = len(alpha)
    new = np.empty(n_topics)
    for d in range(len(starts) - 1):
        for _ in range(_FOLD_STEPS):
            for k in range(n_topics):
                new[k] = 0
            for i in range(starts[d], starts[d + 1]):
                row = topics[words[i]]
                p = 1e-100
                for k in range(n_topics):
                    p += theta[d, k] * row[k]
                for k in range(n_topics):
                    new[k] += counts[i] / p * row[k]
            total = 0.0
            for k in range(n_topics):
                new[k] = alpha[k] + theta[d, k] * new[k]
                total += new[k]
            change = 0.0
            for k in range(n_topics):
                change += abs(new[k] / total - theta[d, k])
                theta[d, k] = new[k] / total
            if change < _FOLD_TOLERANCE:
                break


def _check(words: Any, tensors: dict[str, np.ndarray], config: LDAConfig) -> None:
    """Raise ValueError unless words and tensors fit each other."""
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("vocabulary.json is not a list of words")
    shapes = {"weights": (len(words), config.n_topics), "alpha": (config.n_topics,), "counts": (len(words),)}
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise ValueError(f"{name} has the shape {tensors[name].shape}, not {shape}")
        kind = np.int64 if name == "counts" else np.float64
        if (
            tensors[name].dtype != kind
            or not (tensors[name] > 0).all()
            or not np.isfinite(tensors[name]).all()
        ):
            raise ValueError(f"{name} holds something else than numbers above 0")
