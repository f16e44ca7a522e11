"""Seventy years of language models on the same text, with the same tokens, in bits per byte.

Shannon's n-gram (1948), the hidden Markov model (Rabiner 1989), Elman's network (1990), the LSTM (1997), the
GRU (2014), the Transformer (2017, as a GPT). What descends a gradient has equally many parameters and trains
equally long; the n-gram counts the whole text, which takes less; the HMM reads as much as fits its time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bottega.data.disk import write_json
from bottega.data.shards import TokenShards
from bottega.errors import InputError, Stopped
from bottega.evaluation.scoring import LanguageModel, language_model, score_ids
from bottega.models.gpt import GPT, GPTConfig
from bottega.models.hmm import HMM, HMMConfig
from bottega.models.ngram import best_order
from bottega.models.recurrent import RecurrentConfig, RecurrentLM
from bottega.nn.undrawn import undrawn
from bottega.plots.lineage import draw_learning
from bottega.recipes.gpt import gpt_shape
from bottega.recipes.lineage import Row, markdown, run_each, same_names, settle, trained
from bottega.recipes.presets import find
from bottega.recipes.text_shards import shards_of
from bottega.training.config import TrainingConfig
from bottega.training.pretrain import pretrain
from bottega.training.progress import Display

NAMES = {
    "ngram": "n-gram",
    "hmm": "HMM",
    "hmm-large": "HMM, as many parameters",
    "rnn": "RNN",
    "lstm": "LSTM",
    "gru": "GRU",
    "gpt": "GPT",
}
VOCABULARY = 4096
GPT_SHAPE = replace(gpt_shape("modern-3m"), context_length=256)
GPT_TRAINING = TrainingConfig(minutes=1.0, batch_size=16)
ORDERS = range(2, 6)
HELD_OUT_BYTES = 100_000  # what all are scored on: an HMM of many states takes minutes for it
PIECE_TOKENS = 4096  # the most of one document
HMM_STATES = 128
HMM_NUMBERS = 6e7  # states × tokens that Baum-Welch holds at a time, in float64
HMM_SEQUENCE = 128  # tokens
HMM_PROBE = 20_000  # tokens that are timed before
HMM_ITERATIONS = 20  # at least, where the first is timed right
HMM_PRIOR = 0.01  # added to every count, so that no token is impossible


@dataclass(frozen=True)
class Text:
    """The text of a bench: where it is prepared, and the documents that all models are scored on."""

    folders: dict[Path, float]
    train: TokenShards
    held_out: list[list[int]]
    held_out_bytes: int

    @property
    def folder(self) -> Path:
        """The one folder with `train` and `heldout`."""
        (folder,) = self.folders
        return folder

    def bits_per_byte(self, model: LanguageModel) -> float:
        """Of the held-out documents, each with its end."""
        nats = sum(score_ids(model, ids, self.train.end_of_text, whole=True) for ids in self.held_out)
        return -nats / math.log(2) / self.held_out_bytes


def lineage_text(
    out: Path, data: Sequence[str] = ("embedded",), minutes: float = 10.0, console: Console | None = None
) -> str:
    """Train every model for `minutes` on `data` in `out`, or find it there; return the table.

    Writes lineage.md (the table), lineage.json's results.json beside it, and lineage.png. Raises InputError
    where `out` holds another bench, and `Stopped` on Ctrl-C, after which the same call goes on.
    """
    console = console or Console()
    if not minutes > 0:
        raise InputError(f"--minutes must be above 0, not {minutes}")
    settle(out, {"bench": "text", "data": same_names(data), "minutes": minutes})
    with Display(console) as display:
        folders = shards_of(tuple(data), out, VOCABULARY, display)
    text = open_text(folders)
    size = _parameters(replace(GPT_SHAPE, vocab_size=text.train.vocab_size))
    jobs: dict[str, Callable[[Path], Row]] = {"ngram": partial(_ngram, text)}
    for name, states in {"hmm": HMM_STATES, "hmm-large": states_for(size, text.train)}.items():
        jobs[name] = partial(_hmm, text, states, minutes)
    for name in ("rnn", "lstm", "gru"):
        preset = find(name)
        shape = as_large(replace(preset.shape, vocab_size=text.train.vocab_size), size)
        training = replace(preset.training, minutes=minutes)
        jobs[name] = partial(_descended, text, shape, training, console)
    training = replace(GPT_TRAINING, minutes=minutes)
    jobs["gpt"] = partial(_descended, text, GPT_SHAPE, training, console)
    rows = run_each(out, jobs, minutes, console)
    table = _table(rows, text)
    write_json(out / "results.json", {"held_out_bytes": text.held_out_bytes, "models": rows})
    (out / "lineage.md").write_text(table + "\n", encoding="utf-8")
    curves = {NAMES[key]: row["curve"] for key, row in rows.items() if "curve" in row}
    levels = {NAMES[key]: row["bits_per_byte"] for key, row in rows.items() if "curve" not in row}
    draw_learning(curves, levels, out / "lineage.png")
    return table


def open_text(folders: dict[Path, float]) -> Text:
    """The prepared text, and of its held-out documents an even sample, each cut to PIECE_TOKENS.

    Raises InputError where there are several folders, or nothing was held out.
    """
    if len(folders) != 1:
        raise InputError("lineage compares on one text; give documents, or one prepared folder")
    (folder,) = folders
    if not (folder / "heldout").is_dir():
        raise InputError(f"{folder} holds nothing out to compare on; prepare it with a held-out part")
    held = TokenShards.open(folder / "heldout")
    tokenizer, chosen, size = held.tokenizer(), [], 0
    for number in np.random.default_rng(0).permutation(held.n_documents):
        ids = held.document(int(number))[:PIECE_TOKENS].tolist()
        chosen.append(ids)
        size += len(tokenizer.decode_bytes(ids))
        if size >= HELD_OUT_BYTES:
            break
    return Text(folders, TokenShards.open(folder / "train"), chosen, size)


def _ngram(text: Text, out: Path) -> Row:
    began, train = time.monotonic(), text.train
    documents = (train.document(i) for i in range(train.n_documents))
    held_out = (np.array(ids, dtype=np.int32) for ids in text.held_out)
    model, _ = best_order(documents, held_out, train.vocab_size, train.end_of_text, ORDERS)
    seconds = time.monotonic() - began
    model.save_pretrained(out)
    return {
        "about": f"order {model.config.order}",
        "parameters": sum(len(level.keys) for level in model.levels),
        "seconds": seconds,
        "tokens": train.n_tokens + train.n_documents,
        "bits_per_byte": text.bits_per_byte(model),
    }


def _hmm(text: Text, states: int, minutes: float, out: Path) -> Row:
    """Baum-Welch until the time is up, over as many tokens as it goes through HMM_ITERATIONS times.

    Tokens count once an iteration.
    """
    shape = HMMConfig(states, "categorical", text.train.vocab_size)
    began, few = time.monotonic(), _sequences(text.train, HMM_PROBE)
    HMM.drawn(shape, few).fit(few, iterations=1, prior=HMM_PRIOR)
    tokens = HMM_PROBE * 60 * minutes / HMM_ITERATIONS / (time.monotonic() - began)
    sequences = _sequences(text.train, int(min(tokens, HMM_NUMBERS / states)))
    model = HMM.drawn(shape, sequences)
    began, read, iterations = time.monotonic(), 0, 0
    try:
        while True:
            model.fit(sequences, iterations=1, prior=HMM_PRIOR)
            read, iterations = read + sum(map(len, sequences)), iterations + 1
            seconds = time.monotonic() - began
            if seconds * (iterations + 1) / iterations > 60 * minutes:
                break
    except KeyboardInterrupt:
        raise Stopped("stopped; the models that are done stay, and the same command goes on") from None
    model.save_pretrained(out)
    return {
        "about": f"{states} states, {iterations} iterations over {sum(map(len, sequences)):,} tokens",
        "parameters": states * (1 + states + text.train.vocab_size),
        "seconds": seconds,
        "tokens": read,
        "bits_per_byte": text.bits_per_byte(model),
    }


def _sequences(train: TokenShards, tokens: int) -> list[Any]:
    """Pieces of documents with their ends, in an order drawn once, of as many tokens in all."""
    pieces: list[Any] = []
    held = 0
    for number in np.random.default_rng(0).permutation(train.n_documents):
        ids = np.append(train.document(int(number)).astype(np.int64), train.end_of_text)
        for piece in np.split(ids, range(HMM_SEQUENCE, len(ids), HMM_SEQUENCE)):
            pieces.append(piece)
            held += len(piece)
        if held >= tokens:
            break
    return pieces


def _descended(
    text: Text, shape: GPTConfig | RecurrentConfig, training: TrainingConfig, console: Console, out: Path
) -> Row:
    """A run of its own, which resumes where it was stopped."""
    shape = replace(shape, vocab_size=text.train.vocab_size)
    with Display(console) as display:
        result = pretrain(shape, text.folder, out, training, display)
    seen = trained(out)
    return {
        "about": _about(shape),
        "parameters": _parameters(shape),
        "seconds": seen.seconds,
        "tokens": seen.tokens,
        "bits_per_byte": text.bits_per_byte(language_model(str(result.checkpoint))),
        "curve": seen.curve,
    }


def _about(shape: GPTConfig | RecurrentConfig) -> str:
    width = shape.n_embd if isinstance(shape, GPTConfig) else shape.n_hidden
    return f"{shape.n_layer} layers of {width}"


def _parameters(shape: GPTConfig | RecurrentConfig) -> int:
    with undrawn():
        model = GPT(shape) if isinstance(shape, GPTConfig) else RecurrentLM(shape)
    return sum(parameter.numel() for parameter in model.parameters())


def as_large(shape: RecurrentConfig, parameters: int) -> RecurrentConfig:
    """The shape with the width, a multiple of 16, at which it comes nearest to so many parameters."""
    shapes = (replace(shape, n_hidden=width) for width in range(16, 2049, 16))
    return min(shapes, key=lambda one: abs(_parameters(one) - parameters))


def states_for(parameters: int, train: TokenShards) -> int:
    """How many states an HMM over this vocabulary has with so many parameters: s (1 + s + vocabulary)."""
    b = 1 + train.vocab_size
    return max(1, round((math.sqrt(b * b + 4 * parameters) - b) / 2))


def _table(rows: dict[str, Row], text: Text) -> str:
    header = ("model", "", "parameters", "training, s", "tokens read", "tokens/s", "bits per byte")
    cells = [
        (
            NAMES[key],
            row["about"],
            f"{row['parameters']:,}",
            f"{row['seconds']:,.0f}",
            f"{row['tokens']:,}",
            f"{row['tokens'] / row['seconds']:,.0f}",
            f"{row['bits_per_byte']:.3f}",
        )
        for key, row in rows.items()
    ]
    held = f"{len(text.held_out):,} held-out documents, {text.held_out_bytes:,} bytes; "
    corpus = f"{text.train.n_tokens:,} tokens to train on."
    return f"{markdown(header, cells, texts=2)}\n\n{held}{corpus}"
