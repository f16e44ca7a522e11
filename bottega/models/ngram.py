"""The n-gram language model: the probability of a token after the n - 1 tokens before it, from counts.

Shannon (1948), "A mathematical theory of communication", section 3; smoothed as `kneser_ney` says.
"""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int32

from bottega.errors import InputError
from bottega.models.arpa import read_arpa, write_arpa
from bottega.models.kneser_ney import (
    Level,
    NgramConfig,
    Progress,
    Tokens,
    check_levels,
    count_ngrams,
    estimate,
    find_keys,
    join_documents,
)

MODEL_TYPE = "bottega-ngram"


@dataclass(frozen=True)
class Score:
    """The log-probability of `count` tokens in nats (`total`, so negative), and how it was come by."""

    total: float
    count: int
    kind: str = "exact"


class NgramModel:
    """An n-gram language model: `fit` on documents, then ask for probabilities or samples.

    Every token of the vocabulary has a probability above zero after every context, and they sum to 1.
    """

    def __init__(self, config: NgramConfig, levels: Sequence[Level]) -> None:
        self.config = config
        self.levels = list(levels)

    @classmethod
    def fit(
        cls,
        documents: Iterable[Tokens],
        order: int,
        vocab_size: int,
        end_of_text: int,
        on_progress: Progress | None = None,
    ) -> NgramModel:
        """Count the documents' n-grams and smooth them.

        Args:
            documents: the token ids of each document, without end-of-text; one inside parts it in two.
            order: tokens in the longest n-gram.
            vocab_size: ids run from 0 to this, exclusive.
            end_of_text: the id that stands before and after each document.
            on_progress: told what is being done and the fraction done.

        Raises:
            InputError: there is no token at all, or an id is outside the vocabulary.
        """
        config = NgramConfig(order, vocab_size, end_of_text)
        counts = count_ngrams(_corpus(documents, config), config, on_progress)
        if on_progress:
            on_progress("smoothing", (order - 1) / order)
        return cls(config, estimate(counts, config))

    def log_probs(self, ids: Tokens, end_of_text: int | None = None) -> Float64[np.ndarray, " scored"]:
        """Nats of each token of a document and of its end, each after all that went before it.

        An end-of-text among `ids` starts the context afresh, so many documents joined by it are scored in
        one call, which is much faster than one by one. Raises InputError where `end_of_text` is another than
        the one that the model was trained with.
        """
        if end_of_text not in (None, self.config.end_of_text):
            raise InputError(
                f"the n-gram model ends documents with token {self.config.end_of_text}, not {end_of_text}; "
                "score with the tokenizer that it was trained with"
            )
        stream = join_documents([ids], self.config)
        last, context = stream[1:], stream[:-1]
        total = self.levels[0].log_prob[last].astype(np.float64)
        for below, level in zip(self.levels, self.levels[1:], strict=False):
            known = np.flatnonzero(context >= 0)
            ranks = np.full(len(last), -1, dtype=np.int32)
            wanted = (context[known].astype(np.int64) << self.config.token_bits) | last[known]
            ranks[known] = find_keys(level.keys, wanted)
            hits = np.flatnonzero(ranks >= 0)
            total[known] += below.log_backoff[context[known]]
            total[hits] = level.log_prob[ranks[hits]]
            context = np.concatenate([np.array([-1], dtype=np.int32), ranks[:-1]])
            context[1:][last[:-1] == self.config.end_of_text] = -1
        return total

    def score(self, ids: Tokens) -> Score:
        """The log-probability of a document and its end, in nats, with the number of tokens scored."""
        nats = self.log_probs(ids)
        return Score(float(nats.sum()), len(nats))

    def next_distribution(self, context: Tokens = ()) -> Float64[np.ndarray, " vocab"]:
        """The probability of each token after `context`, the beginning of a document."""
        return self._distribution(join_documents([context], self.config)[:-1])

    def sample(self, n: int, seed: int, context: Tokens = ()) -> list[int]:
        """Draw `n` tokens that follow `context`; a drawn end-of-text starts the next document."""
        rng = np.random.default_rng(seed)
        stream = np.empty(n + len(context) + 1, dtype=np.int32)
        stream[: len(context) + 1] = join_documents([context], self.config)[:-1]
        for end in range(len(context) + 1, len(stream)):
            cumulative = np.cumsum(self._distribution(stream[:end]))
            token = np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")
            stream[end] = min(token, self.config.vocab_size - 1)
        drawn: list[int] = stream[len(context) + 1 :].tolist()
        return drawn

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `model.safetensors` and `config.json` into `folder`, each whole or not at all.

        Raises:
            InputError: the folder is a file, or holds another kind of model.
        """
        from safetensors.numpy import save

        folder = Path(folder)
        check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"levels.{n}.{name}": array
            for n, level in enumerate(self.levels, 1)
            for name, array in vars(level).items()
        }
        config = {"model_type": MODEL_TYPE, **asdict(self.config)}
        for name, content in (
            ("model.safetensors", save(tensors)),
            ("config.json", (json.dumps(config, indent=2) + "\n").encode()),
        ):
            temporary = folder / f".{name}.{os.getpid()}"
            try:
                temporary.write_bytes(content)
                temporary.replace(folder / name)
            finally:
                temporary.unlink(missing_ok=True)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> NgramModel:
        """Read what `save` wrote.

        Raises:
            InputError: the folder holds no n-gram model, or a damaged one.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        config = _read_config(folder)
        try:
            tensors = load_file(folder / "model.safetensors")
            if len(tensors) != 3 * config.order:
                raise ValueError(f"{len(tensors)} tensors instead of {3 * config.order}")
            levels = [_level(tensors, n) for n in range(1, config.order + 1)]
            check_levels(levels, config)
        except FileNotFoundError:
            raise InputError(f"{folder} has no model.safetensors; expected an n-gram model") from None
        except (SafetensorError, KeyError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{folder / 'model.safetensors'} is damaged ({reason}); train the model again"
            ) from None
        return cls(config, levels)

    def to_arpa(self, path: str | Path, token_name: Callable[[int], str]) -> None:
        """Write the model as an ARPA file, each token under its own name; see `arpa.write_arpa`."""
        write_arpa(path, self.config, self.levels, token_name)

    @classmethod
    def from_arpa(
        cls, path: str | Path, token_id: Callable[[str], int], vocab_size: int, end_of_text: int
    ) -> NgramModel:
        """Read a model from an ARPA file whose words `token_id` knows; see `arpa.read_arpa`."""
        return cls(*read_arpa(path, token_id, vocab_size, end_of_text))

    def _distribution(self, stream: Int32[np.ndarray, " time"]) -> Float64[np.ndarray, " vocab"]:
        history = stream[max(0, len(stream) - self.config.order + 1) :]
        starts = np.flatnonzero(history == self.config.end_of_text)
        history = history[starts[-1] :] if starts.size else history
        probs = np.exp(self.levels[0].log_prob.astype(np.float64))
        bits = self.config.token_bits
        for n in range(1, len(history) + 1):
            rank = self._rank(history[-n:])
            if rank < 0:
                continue
            probs *= np.exp(np.float64(self.levels[n - 1].log_backoff[rank]))
            level = self.levels[n]
            begin, end = np.searchsorted(level.keys, [rank << bits, (rank + 1) << bits])
            followers = level.keys[begin:end] & ((1 << bits) - 1)
            probs[followers] = np.exp(level.log_prob[begin:end].astype(np.float64))
        return probs

    def _rank(self, ngram: Int32[np.ndarray, " n"]) -> int:
        """The n-gram's rank in its level, -1 where the model has not seen it."""
        rank = int(ngram[0])
        for level, token in zip(self.levels[1:], ngram[1:].tolist(), strict=False):
            key = rank << self.config.token_bits | token
            rank = int(np.searchsorted(level.keys, key))
            if rank == len(level.keys) or level.keys[rank] != key:
                return -1
        return rank


def best_order(
    documents: Iterable[Tokens],
    held_out: Iterable[Tokens],
    vocab_size: int,
    end_of_text: int,
    orders: Sequence[int] = range(1, 6),
    on_progress: Progress | None = None,
) -> tuple[NgramModel, dict[int, Score]]:
    """Of the models of all `orders`, the one that gives the held-out documents the highest probability.

    The n-grams are counted once, for the highest order; every model is smoothed from those counts.

    Returns:
        The model, and the score of each order on the held-out documents.
    """
    highest = NgramConfig(max(orders), vocab_size, end_of_text)
    counts = count_ngrams(_corpus(documents, highest), highest, on_progress)
    text = _corpus(held_out, highest)[1:-1]
    best: NgramModel | None = None
    scores: dict[int, Score] = {}
    for done, order in enumerate(orders):
        if on_progress:
            on_progress(f"smoothing and scoring order {order}", 0.5 + 0.5 * done / len(orders))
        config = NgramConfig(order, vocab_size, end_of_text)
        model = NgramModel(config, estimate(counts, config))
        scores[order] = model.score(text)
        if best is None or scores[order].total > scores[best.config.order].total:
            best = model
    assert best is not None, "max(orders) has refused an empty sequence"
    return best, scores


def check_folder(folder: str | Path) -> None:
    """Raise InputError where `NgramModel.save` would not write, so that long work need not end in it."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder for the model; name another")
    if (folder / "config.json").exists():
        _read_config(folder)  # an n-gram model may be replaced, any other may not


def _corpus(documents: Iterable[Tokens], config: NgramConfig) -> Int32[np.ndarray, " time"]:
    stream = join_documents(documents, config)
    if (stream == config.end_of_text).all():
        raise InputError("the corpus has no tokens; expected at least one document with text")
    return stream


def _level(tensors: dict[str, np.ndarray], n: int) -> Level:
    keys, *logs = (tensors[f"levels.{n}.{field.name}"] for field in fields(Level))
    if keys.dtype != np.int64 or keys.ndim != 1 or any(log.dtype != np.float32 for log in logs):
        raise ValueError(f"the arrays of order {n} are not of the expected types")
    if any(log.shape != keys.shape for log in logs):
        raise ValueError(f"the arrays of order {n} are not equally long")
    return Level(keys, *logs)


def _read_config(folder: Path) -> NgramConfig:
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text("utf-8"))
        model_type = values.pop("model_type")
        if model_type != MODEL_TYPE:
            raise InputError(f"{path} describes a {model_type!r}; expected {MODEL_TYPE!r}")
        if set(values) != {field.name for field in fields(NgramConfig)}:
            raise ValueError
        return NgramConfig(**{name: operator.index(value) for name, value in values.items()})
    except FileNotFoundError:
        raise InputError(f"{folder} has no config.json; expected an n-gram model") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        names = ", ".join(field.name for field in fields(NgramConfig))
        raise InputError(f"{path} is damaged; expected model_type and whole numbers {names}") from None
