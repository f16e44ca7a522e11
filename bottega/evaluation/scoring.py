"""The probability of a text under a language model: nats, bits per byte, the order of candidate sentences.

Every token is scored after an end-of-text token, which is how documents begin, and after all that went before
it, as far as the context reaches. A text longer than the context is read in windows that begin half a context
apart and score only what the window before did not reach, so that every token but the first ones has at least
half a context before it. Models without a context (n-gram, HMM, recurrent networks) read every document
whole. All scores are exact; sums are kept in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from bottega.errors import InputError
from bottega.models.abilities import PredictsTokens
from bottega.models.gpt import GPT
from bottega.models.hmm import HMM
from bottega.models.ngram import NgramModel

if TYPE_CHECKING:
    from bottega.data.shards import TokenShards
    from bottega.text.tokenizer import Tokenizer

LanguageModel = GPT | HMM | PredictsTokens
Nats = NDArray[np.float64]

_LOGITS_AT_ONCE = 2**25  # 128 MB in float32
_TOKENS_AT_ONCE = 2**20  # of documents that an n-gram model scores in one call


@dataclass(frozen=True)
class Score:
    """The log-probability in nats (so negative) of `tokens` tokens that spell `bytes` bytes of UTF-8."""

    nats: float
    tokens: int
    bytes: int

    @property
    def bits_per_byte(self) -> float:
        """Bits that an ideal coder needs per byte of the text; nan for an empty one."""
        return -self.nats / math.log(2) / self.bytes if self.bytes else math.nan

    @property
    def perplexity(self) -> float:
        """Per token, so it compares only models that share a tokenizer; nan without tokens."""
        return math.exp(-self.nats / self.tokens) if self.tokens else math.nan

    def __add__(self, other: Score) -> Score:
        return Score(self.nats + other.nats, self.tokens + other.tokens, self.bytes + other.bytes)


def language_model(path: str) -> LanguageModel:
    """The language model in a run, a checkpoint folder or a Hub repository; InputError where it is none."""
    from bottega.models.load import load

    model = load(path)
    if not isinstance(model, GPT | HMM | PredictsTokens):
        raise InputError(f"{path}: a {type(model).__name__} does not predict text; give a language model")
    return model


def log_probs(model: LanguageModel, ids: Sequence[int], end_of_text: int) -> Nats:
    """Nats of each token of a document and of its end (len(ids) + 1 values), each after all before it."""
    if isinstance(model, HMM):  # to a chain the end of a document is a symbol like any other
        return model.log_probs([*ids, end_of_text]).numpy()
    if not isinstance(model, GPT):
        return model.log_probs(ids, end_of_text)
    stream = torch.tensor([end_of_text, *ids, end_of_text])
    scored = np.empty(len(ids) + 1)
    training = model.training
    model.eval()
    try:
        for starts, length, new in _windows(
            len(scored), model.config.context_length, model.config.vocab_size
        ):
            nats = _score_windows(model, stream, starts, length)
            for start, row in zip(starts, nats, strict=True):
                scored[start + length - new : start + length] = row[length - new :]
    finally:
        model.train(training)
    return scored


def _windows(n: int, context: int, vocabulary: int) -> Iterator[tuple[list[int], int, int]]:
    """Batches of windows over `n` predictions: their begins, their length, how many of the last are new."""
    yield [0], min(n, context), min(n, context)
    stride = max(1, context // 2)
    begins = list(range(stride, n - context + 1, stride))
    rows = max(1, _LOGITS_AT_ONCE // (context * vocabulary))
    for at in range(0, len(begins), rows):
        yield begins[at : at + rows], context, stride
    reached = (begins[-1] if begins else 0) + context
    if reached < n:  # the last window ends with the text
        yield [n - context], context, n - reached


@torch.no_grad()
def _score_windows(model: GPT, stream: torch.Tensor, begins: list[int], length: int) -> Nats:
    rows = torch.stack([stream[begin : begin + length + 1] for begin in begins])
    rows = rows.to(next(model.parameters()).device)
    logits = model(rows[:, :-1]).float()
    losses = F.cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none")
    nats: Nats = -losses.double().cpu().numpy()
    return nats


def score_ids(model: LanguageModel, ids: Sequence[int], end_of_text: int, whole: bool = False) -> float:
    """The log-probability of tokens in nats; with `whole` also that the document ends after them."""
    nats = log_probs(model, ids, end_of_text)
    return float(nats.sum() if whole else nats[:-1].sum())


def score_text(model: LanguageModel, tokenizer: Tokenizer, text: str, whole: bool = False) -> Score:
    """The score of a text as its tokens spell it; with `whole` its end counts as one more token."""
    ids = tokenizer.encode(text)
    nats = score_ids(model, ids, tokenizer.end_of_text, whole)
    return Score(nats, len(ids) + whole, len(text.encode()))


def rerank(
    model: LanguageModel, tokenizer: Tokenizer, candidates: Sequence[str], whole: bool = False
) -> list[tuple[str, Score]]:
    """The candidates with their scores, the most probable first; equals keep their order.

    Candidates of unequal lengths are compared by their whole log-probability, as a recogniser does when it
    adds the acoustic score (Jelinek 1976).
    """
    scored = [(candidate, score_text(model, tokenizer, candidate, whole)) for candidate in candidates]
    return sorted(scored, key=lambda pair: -pair[1].nats)


def bits_per_byte(
    model: LanguageModel, shards: TokenShards, batch_size: int = 8, stride: int | None = None
) -> float:
    """Bits per byte over a whole split: every token and every document's end, over the text's UTF-8 bytes.

    A GPT reads windows that begin `stride` tokens apart, a whole context by default: cheaper, and a little
    worse than `score_text`'s half. All others read document by document.
    """
    if isinstance(model, GPT):
        nats = -_loss_over(model, shards, batch_size, stride)
    elif isinstance(model, NgramModel):
        nats = sum(float(model.log_probs(ids).sum()) for ids in _joined(shards))
    else:
        documents = (shards.document(i).tolist() for i in range(shards.n_documents))
        nats = sum(score_ids(model, ids, shards.end_of_text, whole=True) for ids in documents)
    return -nats / math.log(2) / shards.n_bytes


@torch.no_grad()
def _loss_over(model: GPT, shards: TokenShards, batch_size: int, stride: int | None) -> float:
    from bottega.data.loader import validation_batches

    device, training, total = next(model.parameters()).device, model.training, 0.0
    model.eval()
    try:
        for batch in validation_batches(shards, model.config.context_length, batch_size, stride):
            total += float(model.loss({name: tensor.to(device) for name, tensor in batch.items()}).total)
    finally:
        model.train(training)
    return total


def _joined(shards: TokenShards) -> Iterator[NDArray[np.int32]]:
    """Many documents to a call, with end-of-text between them: much faster than one by one, and the same."""
    end = np.array([shards.end_of_text], dtype=np.int32)
    group: list[NDArray[np.int32]] = []
    held = 0
    for i in range(shards.n_documents):
        ids = shards.document(i).astype(np.int32)
        group += [end, ids] if group else [ids]
        held += len(ids) + 1
        if held >= _TOKENS_AT_ONCE:
            yield np.concatenate(group)
            group, held = [], 0
    if group:
        yield np.concatenate(group)
