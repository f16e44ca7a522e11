"""Text in one language to text in another: a model that decodes, its tokenizer, the search between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bottega.data.pair_loader import Vocabulary
from bottega.errors import InputError
from bottega.models.beam_search import (
    BeamConfig,
    Decodes,
    Hypothesis,
    beam_search,
    forced_logprobs,
)
from bottega.text.tokenizer import Tokenizer

BATCH_TOKENS = 2048  # of source, padding counted
Progress = Callable[[int, int], None]


class Translator:
    """Translates texts in batches of like lengths.

    `model` is any that `Decodes`; where its `config` has a `context_length`, no side may have more tokens,
    <eos> among them. The tokenizer has <pad>, <bos> and <eos>; InputError where it has not.
    """

    def __init__(self, model: Decodes[Any], tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.vocabulary = Vocabulary.of(tokenizer)
        self.context_length: int | None = getattr(getattr(model, "config", None), "context_length", None)

    @classmethod
    def load(cls, path: str | Path) -> Translator:
        """The translator in a run or a checkpoint folder; InputError where it holds another kind of model."""
        from bottega.models.load import load, load_tokenizer

        model: object = load(path)
        if not isinstance(model, Decodes):
            kind = type(model).__name__
            raise InputError(f"{path}: a {kind} does not translate; name the folder of a translator")
        return cls(model, load_tokenizer(path))

    @property
    def languages(self) -> tuple[str, str]:
        """What it reads and what it writes, as its configuration says; InputError where it does not."""
        config = getattr(self.model, "config", None)
        source, target = (getattr(config, f"{side}_language", "") for side in ("source", "target"))
        if not source or not target:
            raise InputError("config.json does not say source_language and target_language; add them")
        return source, target

    def fits(self, source: str, target: str) -> bool:
        """Whether neither side, with its <eos>, exceeds the context."""
        lengths = map(len, self.tokenizer.encode_batch([source, target]))
        return self.context_length is None or max(lengths) < self.context_length

    def translate(
        self, texts: Sequence[str], config: BeamConfig | None = None, progress: Progress | None = None
    ) -> list[str]:
        """The best translation of each text, in order; of a blank text "".

        Raises InputError for a text beyond the context. `progress` is told texts done and texts in all.
        """
        return [self.text(found[0]) if found else "" for found in self.search(texts, config, progress)]

    def search(
        self, texts: Sequence[str], config: BeamConfig | None = None, progress: Progress | None = None
    ) -> list[list[Hypothesis]]:
        """The best hypotheses of each text, best first; of a blank text none. See `translate`."""
        config = config or BeamConfig()
        if self.context_length is not None:
            config = replace(config, max_tokens=min(config.max_tokens, self.context_length))
        encoded = self._encode(texts, "source")
        found: list[list[Hypothesis]] = [[] for _ in texts]
        for rows in self._batches(texts, encoded, progress):
            source, mask = self._source(encoded, rows)
            words = self.vocabulary
            results = beam_search(self.model, source, mask, config, words.bos, words.eos, words.pad)
            for row, hypotheses in zip(rows, results, strict=True):
                found[row] = hypotheses
        return found

    def score(
        self,
        texts: Sequence[str],
        targets: Sequence[str],
        config: BeamConfig | None = None,
        progress: Progress | None = None,
    ) -> list[Hypothesis | None]:
        """Each target as the search would rank it, had it found it; None where its text is blank."""
        config = config or BeamConfig()
        encoded, wanted = self._encode(texts, "source"), self._encode(targets, "target")
        scored: list[Hypothesis | None] = [None] * len(texts)
        for rows in self._batches(texts, encoded, progress):
            source, mask = self._source(encoded, rows)
            words, ids = self.vocabulary, [wanted[row] for row in rows]
            special = words.bos, words.eos, words.pad
            logprobs = forced_logprobs(self.model, source, mask, ids, *special, config.min_tokens)
            for row, target, logprob in zip(rows, ids, logprobs, strict=True):
                score = logprob / (len(target) + 1) ** config.length_penalty
                scored[row] = Hypothesis(target, logprob, score)
        return scored

    def text(self, hypothesis: Hypothesis) -> str:
        """The text of a hypothesis, on one line."""
        return " ".join(self.tokenizer.decode(hypothesis.ids).split())

    def _encode(self, texts: Sequence[str], side: str) -> list[list[int]]:
        encoded = self.tokenizer.encode_batch([text.strip() for text in texts])
        for number, ids in enumerate(encoded, start=1):
            if self.context_length is not None and len(ids) >= self.context_length:
                raise InputError(
                    f"{side}, line {number}: {len(ids):,} tokens and <eos> exceed the context of "
                    f"{self.context_length:,}; split it into sentences"
                )
        return encoded

    def _batches(
        self, texts: Sequence[str], encoded: list[list[int]], progress: Progress | None
    ) -> Iterator[list[int]]:
        """The rows of the texts that are not blank, those of like length together, longest first."""
        order = sorted((i for i, text in enumerate(texts) if text.strip()), key=lambda i: -len(encoded[i]))
        done = 0
        while done < len(order):
            size = max(1, BATCH_TOKENS // (len(encoded[order[done]]) + 1))
            yield order[done : done + size]
            done = min(done + size, len(order))
            if progress is not None:
                progress(done, len(order))

    def _source(self, encoded: list[list[int]], rows: list[int]) -> tuple[Tensor, Tensor]:
        """These sources as a batch, ended and padded on the right, and which tokens stand."""
        words, width = self.vocabulary, max(len(encoded[row]) for row in rows) + 1
        ids = [[*encoded[row], words.eos] for row in rows]
        parameters = getattr(self.model, "parameters", None)
        device = next(parameters()).device if parameters is not None else None
        source = torch.tensor([[*line, *[words.pad] * (width - len(line))] for line in ids], device=device)
        lengths = torch.tensor([len(line) for line in ids], device=device)
        return source, torch.arange(width, device=device) < lengths[:, None]
