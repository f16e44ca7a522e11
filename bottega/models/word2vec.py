"""Word2Vec: a vector for each word, learnt from the words around it.

Mikolov, Chen, Corrado and Dean (2013a), "Efficient estimation of word representations in vector space": the
skip-gram and the continuous bag of words; Mikolov, Sutskever, Chen, Corrado and Dean (2013b), "Distributed
representations of words and phrases and their compositionality": negative samples and sub-sampling.
"""

from __future__ import annotations

import difflib
import json
from array import array
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt32

from bottega.data.disk import atomic_file, write_json
from bottega.errors import InputError

MODEL_TYPE = "bottega-word2vec"
Progress = Callable[[int, int], None]  # words done, words in all
_AT_ONCE = 10_000  # words between two rates: the decay is a staircase that nobody sees


@dataclass(frozen=True)
class Word2VecConfig:
    """What the vectors are and what they predict."""

    width: int = 100
    """Numbers in a vector."""
    architecture: Literal["skip-gram", "cbow"] = "skip-gram"
    """A word predicts each neighbour (skip-gram), or the mean of the neighbours predicts it (cbow)."""
    window: int = 5
    """Neighbours to each side, at most: how many is drawn from 1 to this at every word."""
    negatives: int = 5
    """Words drawn by chance for each true one."""
    min_count: int = 5
    """Words that occur less often are left out."""
    subsample: int | float = 1e-3
    """Words more frequent than this share are thinned out (2013b, section 2.3); 0 keeps them all."""

    def __post_init__(self) -> None:
        if min(self.width, self.window, self.negatives, self.min_count) < 1:
            raise InputError(
                "width, window, negatives and min_count are at least 1, not "
                f"{self.width}, {self.window}, {self.negatives} and {self.min_count}"
            )
        if self.architecture not in ("skip-gram", "cbow"):
            raise InputError(f"the architecture is skip-gram or cbow, not {self.architecture!r}")
        if not 0 <= self.subsample <= 1:
            raise InputError(f"subsample is a share from 0 to 1, not {self.subsample}")


@dataclass(frozen=True)
class Word2VecTraining:
    """How the vectors are learnt."""

    epochs: int = 5
    """Readings of the whole text."""
    rate: int | float = 0.025
    """The step at the beginning; it falls in a line."""
    final_rate: int | float = 1e-4
    """The step at the end."""
    threads: int = 1
    """Threads that share the vectors without locks. The same seed gives the same vectors only with one."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.threads < 1 or self.seed < 0:
            raise InputError(
                "epochs and threads are at least 1 and the seed at least 0, not "
                f"{self.epochs}, {self.threads} and {self.seed}"
            )
        if not 0 <= self.final_rate <= self.rate:
            raise InputError(f"the rate falls from {self.rate} to {self.final_rate}; give 0 ≤ final ≤ first")


@dataclass(frozen=True)
class Corpus:
    """Sentences as word ids, end to end: sentence s is `ids[starts[s]:starts[s + 1]]`."""

    ids: Int32[np.ndarray, " words"]
    starts: Int64[np.ndarray, " starts"]


class Word2Vec:
    """Words with their vectors; the words are ordered by how often they occur, the most frequent first."""

    def __init__(
        self,
        config: Word2VecConfig,
        words: Sequence[str],
        counts: Int64[np.ndarray, " word"],
        vectors: Float32[np.ndarray, "word width"],
        contexts: Float32[np.ndarray, "word width"],
    ) -> None:
        self.config, self.words, self.counts = config, list(words), counts
        self.vectors, self.contexts = vectors, contexts
        self.ids = {word: number for number, word in enumerate(self.words)}

    @classmethod
    def fit(
        cls,
        sentences: Iterable[Sequence[str]],
        config: Word2VecConfig | None = None,
        training: Word2VecTraining | None = None,
        progress: Progress | None = None,
    ) -> Word2Vec:
        """Learn vectors from sentences, each a list of words, which are read once.

        Raises InputError where fewer than two words occur `min_count` times.
        """
        training = training or Word2VecTraining()
        model, corpus = cls.drawn(sentences, config or Word2VecConfig(), training.seed)
        model.learn(corpus, training, progress)
        return model

    @classmethod
    def drawn(
        cls, sentences: Iterable[Sequence[str]], config: Word2VecConfig, seed: int = 0
    ) -> tuple[Word2Vec, Corpus]:
        """The vocabulary of some sentences with small random vectors, and the sentences as numbers."""
        words, counts, corpus = _count(sentences, config.min_count)
        rng = np.random.default_rng(seed)
        vectors = (rng.random((len(words), config.width), dtype=np.float32) * 2 - 1) / config.width
        return cls(config, words, counts, vectors, np.zeros_like(vectors)), corpus

    def learn(self, corpus: Corpus, training: Word2VecTraining, progress: Progress | None = None) -> None:
        """Move the vectors, in place; what Ctrl-C interrupts leaves them as far as they came."""
        from bottega.models import word2vec_steps

        step = word2vec_steps.cbow if self.config.architecture == "cbow" else word2vec_steps.skip_gram
        keep, alias = self._keep(), _alias_table(self.counts**0.75)
        self.__dict__.pop("_directions", None)
        rng = np.random.default_rng([training.seed, 1])
        total, done = training.epochs * len(corpus.ids), 0

        def work(begin: int, end: int, rate: int | float, state: np.uint64) -> int:
            starts, size = corpus.starts[begin : end + 1], self.config
            step(
                corpus.ids, starts, keep, alias, self.vectors, self.contexts,
                size.window, size.negatives, rate, state,
            )  # fmt: skip
            return int(starts[-1] - starts[0])

        stretches = _stretches(corpus.starts)
        with ThreadPoolExecutor(training.threads) as pool:
            for _ in range(training.epochs):
                for first in range(0, len(stretches), training.threads):
                    rate = training.rate - (training.rate - training.final_rate) * done / total
                    group = stretches[first : first + training.threads]
                    states = rng.integers(1, 2**63, len(group), dtype=np.uint64)
                    jobs = [(*span, rate, state) for span, state in zip(group, states, strict=True)]
                    done += sum(pool.map(lambda job: work(*job), jobs) if len(jobs) > 1 else [work(*jobs[0])])
                    if progress:
                        progress(done, total)
        if not np.isfinite(self.vectors).all():
            raise InputError(f"the vectors grew without end at the rate {training.rate}; give a smaller one")

    def vector(self, word: str) -> Float32[np.ndarray, " width"]:
        """The vector of a word; InputError with the closest spellings where it has none."""
        return self.vectors[self.number(word)]

    def number(self, word: str) -> int:
        """The place of a word in the vocabulary; InputError with the closest spellings where it has none."""
        if word in self.ids:
            return self.ids[word]
        close = difflib.get_close_matches(word.lower(), self.words, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise InputError(f"the word {word!r} is not among the {len(self.words):,} of this model{hint}")

    def similarity(self, a: str, b: str) -> float:
        """The cosine of two words' vectors, -1 to 1."""
        return float(self._directions[self.number(a)] @ self._directions[self.number(b)])

    def neighbours(self, word: str, n: int = 10) -> list[tuple[str, float]]:
        """The `n` words of the highest cosine, with it, the nearest first."""
        number = self.number(word)
        return self._nearest(self._directions[number], {number}, n)

    def analogy(self, a: str, b: str, c: str, n: int = 1) -> list[tuple[str, float]]:
        """What is to `c` as `b` is to `a`: the words nearest to b − a + c, none of the three among them.

        Mikolov, Yih and Zweig (2013), "Linguistic regularities in continuous space word representations".
        """
        three = [self.number(word) for word in (a, b, c)]
        aimed = self._directions[three[1]] - self._directions[three[0]] + self._directions[three[2]]
        return self._nearest(aimed / max(np.linalg.norm(aimed), 1e-12), set(three), n)

    def encode(self, texts: Sequence[str]) -> Float32[np.ndarray, "text width"]:
        """The mean direction of each text's words; zeros for a text of which no word is known."""
        from bottega.text.words import words

        rows = np.zeros((len(texts), self.config.width), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            known = [self.ids[word] for word in words(text) if word in self.ids]
            if known:
                row[:] = self._directions[known].mean(0)
        return rows

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json, vocabulary.json (the words, most frequent first) and model.safetensors."""
        from safetensors.numpy import save

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"vectors": self.vectors, "contexts": self.contexts, "counts": self.counts}
        with atomic_file(folder / "model.safetensors") as file:
            file.write(save(tensors))
        with atomic_file(folder / "vocabulary.json") as file:
            file.write(json.dumps(self.words, ensure_ascii=False).encode())
        write_json(folder / "config.json", {"model_type": MODEL_TYPE, **asdict(self.config)})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Word2Vec:
        """Read what `save_pretrained` wrote; InputError where it is damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        try:
            settings = json.loads((folder / "config.json").read_text("utf-8"))
            if (kind := settings.pop("model_type")) != MODEL_TYPE:
                raise InputError(f"{folder} holds a {kind}; expected a {MODEL_TYPE}")
            config = Word2VecConfig(**settings)
            words = json.loads((folder / "vocabulary.json").read_text("utf-8"))
            tensors = load_file(folder / "model.safetensors")
            vectors, contexts, counts = (tensors[name] for name in ("vectors", "contexts", "counts"))
            if not len(set(words)) == len(words) == len(counts) or counts.dtype != np.int64:
                raise ValueError("words and counts do not fit each other")
            for matrix in (vectors, contexts):
                if matrix.shape != (len(words), config.width) or matrix.dtype != np.float32:
                    raise ValueError(f"a matrix of {matrix.shape} for {len(words):,} words")
        except FileNotFoundError as error:
            raise InputError(f"{error.filename} is missing; expected a Word2Vec model in {folder}") from None
        except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{folder} is damaged ({error}); train the model again") from None
        return cls(config, words, counts, vectors, contexts)

    def export_text(self, path: str | Path) -> None:
        """Write word2vec's own text format, which gensim and others read: a word, its numbers.

        Spaces within a word become underlines, because a space ends it there.
        """
        with atomic_file(Path(path)) as file:
            file.write(f"{len(self.words)} {self.config.width}\n".encode())
            for word, vector in zip(self.words, self.vectors, strict=True):
                file.write(f"{'_'.join(word.split())} {' '.join(map(str, vector))}\n".encode())

    @cached_property
    def _directions(self) -> Float32[np.ndarray, "word width"]:
        return self.vectors / np.linalg.norm(self.vectors, axis=1, keepdims=True).clip(1e-12)

    def _nearest(
        self, direction: Float32[np.ndarray, " width"], but: set[int], n: int
    ) -> list[tuple[str, float]]:
        if n < 1:
            raise InputError(f"n is {n}; ask for at least one word")
        cosines = self._directions @ direction
        order = [int(i) for i in np.argsort(-cosines)[: n + len(but)] if i not in but]
        return [(self.words[i], float(cosines[i])) for i in order[:n]]

    def _keep(self) -> UInt32[np.ndarray, " word"]:
        """The probability that an occurrence of each word stays, of 2³².

        The authors' program keeps (√(f/t) + 1) · t/f, a little more than √(t/f), which their eq. 5 says.
        """
        if not self.config.subsample:
            return np.full(len(self.counts), 2**32 - 1, dtype=np.uint32)
        ratio = self.counts / self.counts.sum() / self.config.subsample
        return (((np.sqrt(ratio) + 1) / ratio).clip(max=1) * (2**32 - 1)).astype(np.uint32)


def _count(
    sentences: Iterable[Sequence[str]], min_count: int
) -> tuple[list[str], Int64[np.ndarray, " word"], Corpus]:
    """The words that occur often enough, how often they do, and the sentences made of them alone."""
    numbers: dict[str, int] = {}
    ids, lengths = array("i"), array("q", [0])
    for sentence in sentences:
        ids.extend([numbers.setdefault(word, len(numbers)) for word in sentence])
        lengths.append(len(sentence))
    every = np.frombuffer(ids, dtype=np.int32) if ids else np.empty(0, np.int32)
    counts = np.bincount(every, minlength=len(numbers))
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] >= min_count]
    if len(order) < 2:
        raise InputError(
            f"{len(order)} of {len(numbers):,} words occur at least {min_count} times; Word2Vec needs two or "
            "more: give more text or a smaller min_count"
        )
    renumbered = np.full(len(numbers), -1, dtype=np.int32)
    renumbered[order] = np.arange(len(order), dtype=np.int32)
    kept = renumbered[every]
    before = np.concatenate([[0], np.cumsum(kept >= 0)])
    starts = before[np.cumsum(np.frombuffer(lengths, dtype=np.int64))]
    spelled = list(numbers)
    return [spelled[i] for i in order], counts[order], Corpus(kept[kept >= 0], starts)


def _stretches(starts: Int64[np.ndarray, " starts"]) -> list[tuple[int, int]]:
    """Runs of sentences of some 10,000 words each, as first and last + 1."""
    cuts = np.searchsorted(starts, np.arange(0, starts[-1], _AT_ONCE))
    cuts = np.unique(np.concatenate([cuts, [0, len(starts) - 1]]))
    return list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))


def _alias_table(weights: np.ndarray) -> UInt32[np.ndarray, "word 2"]:
    """Walker's table (1977): for each slot the probability, of 2³², that it is kept, and its other word."""
    share = weights / weights.sum() * len(weights)
    chance, other = np.ones(len(share)), np.arange(len(share))
    small, large = list(np.flatnonzero(share < 1)), list(np.flatnonzero(share >= 1))
    while small and large:
        poor, rich = small.pop(), large[-1]
        chance[poor], other[poor] = share[poor], rich
        share[rich] -= 1 - share[poor]
        if share[rich] < 1:
            small.append(large.pop())
    return np.stack([chance * (2**32 - 1), other], axis=1).astype(np.uint32)
