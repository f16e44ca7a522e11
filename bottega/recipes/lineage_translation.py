"""Three translators on the same pairs: recurrent, recurrent with attention, the Transformer.

Sutskever et al. (2014) put a whole sentence into one vector, and long sentences suffered for it. Bahdanau et
al. (2015, figure 2) let the decoder look back; Vaswani et al. (2017) left the recurrence away. All three see
the same tokens for the same time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from bottega.data.disk import write_json
from bottega.data.pairs import read_pairs
from bottega.errors import InputError
from bottega.evaluation.translation import Bucket, bleu_by_length, corpus_scores
from bottega.models.beam_search import BeamConfig
from bottega.models.load import load, load_tokenizer
from bottega.models.translator import Translator
from bottega.plots.lineage import draw_lengths
from bottega.recipes.lineage import Row, markdown, run_each, same_names, settle, trained
from bottega.recipes.presets import find
from bottega.recipes.translation import train_translator
from bottega.training.config import TrainingConfig
from bottega.training.progress import Display

NAMES = {"rnn": "RNN (GRU)", "attention": "RNN + attention", "transformer": "Transformer"}


@dataclass(frozen=True)
class Task:
    """What is translated: --data, the two languages, and how many tokens they share."""

    data: tuple[str, ...]
    source_language: str
    target_language: str
    vocab_size: int


def task(
    data: Sequence[str], source_language: str | None, target_language: str | None, vocab_size: int | None
) -> Task:
    """The task with what goes without saying: numbers for `embedded`, English to German for all else."""
    embedded = tuple(data) == ("embedded",)
    languages = ("en", "digits") if embedded else ("en", "de")
    return Task(
        tuple(data),
        source_language or languages[0],
        target_language or languages[1],
        vocab_size or (300 if embedded else 10_000),
    )


def lineage_translation(out: Path, task: Task, minutes: float, console: Console | None = None) -> str:
    """Train the three for `minutes` each in `out`, or find them there; translate the test split.

    Returns the table. Writes it as lineage.md, results.json beside it, and lineage.png: BLEU by the length of
    the source. Raises InputError where `out` holds another bench, or there are no pairs to test on.
    """
    console = console or Console()
    if not minutes > 0:
        raise InputError(f"--minutes must be above 0, not {minutes}")
    settings = {"bench": "translation", **asdict(task), "data": same_names(task.data), "minutes": minutes}
    settle(out, settings)
    test = read_pairs(task.data, task.source_language, task.target_language, "test")
    jobs: dict[str, Callable[[Path], Row]] = {}
    for name, (shape, training) in _systems(task).items():
        training = replace(training, minutes=minutes, steps=None, tokens=None)
        jobs[name] = partial(_translator, shape, training, task, test.source, test.target, console)
    rows = run_each(out, jobs, minutes, console)
    table = _table(rows)
    write_json(out / "results.json", {"test_sentences": len(test.source), "models": rows})
    (out / "lineage.md").write_text(table + "\n", encoding="utf-8")
    draw_lengths({NAMES[key]: _points(row) for key, row in rows.items()}, out / "lineage.png")
    return table


def _systems(task: Task) -> dict[str, tuple[Any, TrainingConfig]]:
    """Each system's shape, for these languages, and how it is trained: those of the presets."""
    small = task.vocab_size < 1000
    recurrent = find("seq2seq-numbers" if small else "seq2seq")
    transformer = find("transformer-numbers" if small else "transformer-tiny")
    shapes = {
        "rnn": replace(recurrent.shape, attention="none"),
        "attention": replace(recurrent.shape, attention="additive"),
        "transformer": transformer.shape,
    }
    fields = {
        "vocab_size": task.vocab_size,
        "context_length": transformer.shape.context_length,
        "source_language": task.source_language,
        "target_language": task.target_language,
    }
    return {
        name: (replace(shape, **fields), (transformer if name == "transformer" else recurrent).training)
        for name, shape in shapes.items()
    }


def _translator(
    shape: Any,
    training: TrainingConfig,
    task: Task,
    sources: Sequence[str],
    references: Sequence[str],
    console: Console,
    out: Path,
) -> Row:
    """A run of its own, which resumes where it was stopped; then the test split, with a beam of five."""
    with Display(console) as display:
        train_translator(shape, task.data, out, training, display)
    seen = trained(out)
    model = load(out)
    translator = Translator(model, load_tokenizer(out))
    with console.status("translating the test split"):
        began = time.monotonic()
        found = [hypotheses[0] for hypotheses in translator.search(sources, BeamConfig())]
        seconds = time.monotonic() - began
    translations = [translator.text(best) for best in found]
    scores = corpus_scores(translations, references)
    return {
        "parameters": _parameters(model),
        "seconds": seen.seconds,
        "tokens": seen.tokens,
        "steps": seen.steps,
        "curve": seen.curve,
        "translated_tokens_per_second": sum(len(best.ids) for best in found) / seconds,
        "scores": asdict(scores),
        "by_length": [asdict(bucket) for bucket in bleu_by_length(sources, translations, references)],
    }


def _parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _points(row: Row) -> list[tuple[str, int, float]]:
    """For the figure: the words of each bucket, its sentences, its BLEU."""
    buckets = [Bucket(**bucket) for bucket in row["by_length"]]
    words = [f"over {b.above}" if b.up_to is None else f"{b.above + 1}–{b.up_to}" for b in buckets]
    return [(name, b.sentences, b.bleu) for name, b in zip(words, buckets, strict=True)]


def _table(rows: dict[str, Row]) -> str:
    header = ("model", "parameters", "training, s", "tokens/s", "translated tokens/s", "BLEU", "chrF")
    cells = [
        (
            NAMES[key],
            f"{row['parameters']:,}",
            f"{row['seconds']:,.0f}",
            f"{row['tokens'] / row['seconds']:,.0f}",
            f"{row['translated_tokens_per_second']:,.0f}",
            f"{row['scores']['bleu']:.2f}",
            f"{row['scores']['chrf']:.2f}",
        )
        for key, row in rows.items()
    ]
    first = next(iter(rows.values()))["scores"]
    signature = f"{first['sentences']:,} sentences, beam 5; sacreBLEU's signature {first['bleu_signature']}"
    return f"{markdown(header, cells)}\n\n{signature}."
