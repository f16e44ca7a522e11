"""The main job: from raw text to a GPT on this machine, in minutes, compared with its ancestor.

Everything lies in one run folder: `tokenizer/`, `data/`, the training run's checkpoints, `comparison.json`,
`curve.png`. Each stage leaves its result there and is skipped where it stands, so a killed quickstart goes on
where it was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bottega.data import shards
from bottega.data.corpus import open_corpus
from bottega.data.disk import disk_errors, write_json
from bottega.data.documents import Document
from bottega.data.loader import PackedLoader
from bottega.data.shards import TokenShards
from bottega.data.splits import by_hash, place
from bottega.errors import InputError
from bottega.evaluation.scoring import bits_per_byte
from bottega.models.gpt import GPT, GPTConfig
from bottega.models.ngram import best_order
from bottega.plots.curves import draw_curves, read_run
from bottega.recipes.gpt import gpt_shape
from bottega.text.tokenizer import Tokenizer
from bottega.training.checkpoints import locked
from bottega.training.config import TrainingConfig
from bottega.training.loop import Result
from bottega.training.pretrain import pretrain
from bottega.training.progress import Display

MINUTES = 4.0
SHAPE = replace(gpt_shape("modern-5m"), context_length=256)
VOCABULARY = 4096
HELD_OUT_BYTES = 150_000  # scored ten times while it trains: more would cost the training its minutes
PIECE_BYTES = 10_000  # the most that one held-out document gives where there are fifteen or more
TOKENIZER_BYTES = 16_000_000  # of training text for the tokenizer: more moves the last merges only
ORDERS = range(2, 6)
FIM_RATE = 0.25  # share of the windows from which it learns to fill in the middle


@dataclass(frozen=True)
class Comparison:
    """Bits per byte on the same held-out text, every token and every document's end counted."""

    untrained: float
    ngram_same_tokens: float
    ngram_same_tokens_order: int
    ngram_whole_corpus: float
    ngram_whole_corpus_order: int
    gpt: float
    gpt_parameters: int
    tokens_seen: int
    corpus_tokens: int
    epochs: float
    held_out_bytes: int
    training_seconds: float

    @property
    def saving(self) -> float:
        """Share of the bits of the n-gram trained on the same tokens that the GPT does without."""
        return 1 - self.gpt / self.ngram_same_tokens


def quickstart(
    out: Path,
    data: Sequence[str] = (),
    minutes: float | None = None,
    *,
    text_field: str = "text",
    retrain: bool = False,
    console: Console | None = None,
) -> Comparison:
    """Train a GPT in `out` on `data` (none: the embedded corpus), or find the one that is there.

    `minutes` are those of training, compiling and validating included (None: MINUTES, or what the run in
    `out` has); `text_field` is that of .jsonl and Parquet; `retrain` starts over. Raises InputError where
    `out` holds something else, or a run of other data or minutes, or the text is too little to learn from.
    """
    console = console or Console()
    settings = _settings(out, data, minutes, text_field, retrain)
    finished = out / "comparison.json"
    if finished.is_file() and not retrain:
        return Comparison(**json.loads(finished.read_text()))
    corpus = _prepare(out, settings, retrain, console)
    shape = replace(SHAPE, vocab_size=corpus.vocab_size)
    config = TrainingConfig(
        minutes=settings["minutes"],
        batch_size=16,
        matrix_learning_rate=0.02,
        learning_rate=3e-3,
        fim_rate=FIM_RATE,
    )
    console.rule("training")
    with Display(console) as display:
        result = pretrain(shape, out / "data", out, config, display)
    console.rule("comparing")
    comparison = _compare(out, corpus, shape, config, result, console)
    _draw(out, comparison)
    write_json(finished, asdict(comparison))
    return comparison


def _settings(
    out: Path, data: Sequence[str], minutes: float | None, text_field: str, retrain: bool
) -> dict[str, Any]:
    """What this run is made of: what was written down when it began, which this call must not contradict."""
    path = out / "quickstart.json"
    if out.exists() and not path.is_file() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} holds something else than a quickstart; name another folder with --out")
    if minutes is not None and not minutes > 0:
        raise InputError(f"--minutes must be above 0, not {minutes}")
    names = [str(Path(name).resolve()) if Path(name).exists() else name for name in data]
    if retrain or not path.is_file():
        return {"data": names, "minutes": minutes or MINUTES, "text_field": text_field}
    settings: dict[str, Any] = json.loads(path.read_text())
    other_text = data and (settings["data"], settings["text_field"]) != (names, text_field)
    if other_text or (minutes is not None and settings["minutes"] != minutes):
        text = ", ".join(settings["data"]) or "the embedded corpus"
        raise InputError(
            f"{out} holds a quickstart of {settings['minutes']:g} minutes on {text}; add --retrain to start "
            "over, or name another folder with --out"
        )
    return settings


def _prepare(out: Path, settings: dict[str, Any], retrain: bool, console: Console) -> TokenShards:
    """Tokenizer and token shards, made once."""
    done = out / "data" / "done"
    if retrain or not done.is_file():
        console.rule("corpus")
        data: list[str] = settings["data"]
        with console.status("reading the corpus"):
            sources = data or ["embedded"]
            documents, held = open_corpus(sources, settings["text_field"], report=console.print)
            training = list(documents)
        tokenizer = _tokenizer(training, console)
        # Only now, with a text that can be learnt from, is anything written or removed.
        _begin(out, settings, retrain)
        tokenizer.save(out / "tokenizer")
        with shards.progress_bar("tokenising") as bar:
            shards.prepare(training, tokenizer, out / "data" / "train", progress=bar)
        shards.prepare(_some(held), tokenizer, out / "data" / "heldout")
        done.touch()
        made, kept = (TokenShards.open(out / "data" / part) for part in ("train", "heldout"))
        console.print(
            f"{', '.join(data) or 'the embedded corpus'}: {made.n_documents:,} documents, "
            f"{made.n_bytes / 1e6:.1f} MB, {made.n_tokens:,} tokens "
            f"({made.n_bytes / made.n_tokens:.2f} bytes a token); {kept.n_bytes / 1e3:.0f} kB held out"
        )
    return TokenShards.open(out / "data" / "train", verify=False)


def _begin(out: Path, settings: dict[str, Any], retrain: bool) -> None:
    """Write down what the run is made of, in place of an earlier run where there is to be none."""
    if retrain and out.exists():
        with locked(out):
            pass  # nobody trains in it
        with disk_errors(out):
            shutil.rmtree(out)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    write_json(out / "quickstart.json", settings)


def _tokenizer(documents: Sequence[Document], console: Console) -> Tokenizer:
    """The run's tokenizer: byte-level BPE on an even sample of the training documents."""
    total = sum(len(document.text) for document in documents)
    share = TOKENIZER_BYTES / max(total, 1)
    sample = [d.text for d in documents if share >= 1 or by_hash(d.name, share)]
    # A merge needs occurrences to be learnt from: small texts get small vocabularies.
    size = min(VOCABULARY, 512 + total // 200)
    with console.status(f"training a tokenizer of {size:,} tokens"):
        return Tokenizer.train(sample, size)


def _some(held: Sequence[Document]) -> list[Document]:
    """The beginnings of held-out documents, HELD_OUT_BYTES in all, in an order that their names decide."""
    chosen, left = [], HELD_OUT_BYTES
    piece = max(PIECE_BYTES, HELD_OUT_BYTES // max(1, len(held)))
    for document in sorted(held, key=lambda d: place(d.name)):
        data = document.text.encode()[: min(left, piece)]
        text = data.decode(errors="ignore")  # at most the last character, cut in two
        if text:
            chosen.append(Document(text, document.name))
            left -= len(data)
        if left <= 0:
            break
    return chosen


def _compare(
    out: Path, corpus: TokenShards, shape: GPTConfig, config: TrainingConfig, result: Result, console: Console
) -> Comparison:
    held = TokenShards.open(out / "data" / "heldout")
    loader = PackedLoader(
        corpus, shape.context_length, config.batch_size, seed=config.seed, fim_rate=config.fim_rate
    )
    positions = result.step * config.batch_size
    same, order = _best_ngram(loader, positions, held, "n-gram on the tokens that the GPT saw", console)
    whole, whole_order = same, order
    if positions < loader.windows:
        text = "n-gram on the whole corpus"
        whole, whole_order = _best_ngram(loader, loader.windows, held, text, console)
    with console.status("GPT"):
        # Half a context of overlap: an n-gram's context has no seams either.
        stride = shape.context_length // 2
        trained = GPT.from_pretrained(result.checkpoint)
        torch.manual_seed(config.seed)
        untrained = GPT(shape)
        gpt, before = (
            bits_per_byte(model, held, config.batch_size, stride) for model in (trained, untrained)
        )
    return Comparison(
        before,
        same,
        order,
        whole,
        whole_order,
        gpt,
        trained.n_parameters(),
        result.tokens,
        corpus.n_tokens + corpus.n_documents,
        positions / loader.windows,
        held.n_bytes,
        result.seconds,
    )


def _best_ngram(
    loader: PackedLoader, positions: int, held: TokenShards, name: str, console: Console
) -> tuple[float, int]:
    """Bits per byte and order of the best n-gram trained on the loader's first `positions` windows.

    What the GPT saw twice is counted once: repeating every count would only mislead the discounts.
    """
    shards_ = loader.shards
    with _bar(name, console) as progress:
        documents = loader.consumed(positions, epochs=1)
        held_out = (held.document(i) for i in range(held.n_documents))
        model, _ = best_order(documents, held_out, shards_.vocab_size, shards_.end_of_text, ORDERS, progress)
    return bits_per_byte(model, held), model.config.order


@contextmanager
def _bar(name: str, console: Console) -> Iterator[Any]:
    columns = TextColumn(name), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda text, done: bar.update(task, description=text, completed=done)


def _draw(out: Path, comparison: Comparison) -> None:
    levels = {
        f"{comparison.ngram_same_tokens_order}-gram, same tokens": comparison.ngram_same_tokens,
        f"{comparison.ngram_whole_corpus_order}-gram, whole corpus": comparison.ngram_whole_corpus,
    }
    draw_curves({"GPT": read_run(out)}, out / "curve.png", levels)
