"""Hidden Markov models as presets: of the tokens of text, of its letters, and of the look of its lines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bottega.data.corpus import open_corpus
from bottega.data.documents import read_documents
from bottega.data.shard_files import TokenShards
from bottega.errors import InputError, Stopped
from bottega.models.hmm import HMM, MODEL_TYPE, HMMConfig
from bottega.models.symbols import write_symbols
from bottega.recipes.preset import Preset, check_free
from bottega.recipes.text_shards import DATA, are_prepared, mixture
from bottega.text.tokenizer import Tokenizer
from bottega.training.events import Listener, Notice

BYTES_ALONE = 262  # the least vocabulary: 256 bytes and the special tokens, no merges
LETTERS = " abcdefghijklmnopqrstuvwxyz"
FEATURES = ("length, log characters", "wordiness, log-odds of letters")
PIECE = 256  # symbols: sequences of like length are computed together
TOKENIZER_TEXT = 4_000_000  # characters from which a vocabulary is learnt
FIRST = 60  # iterations of each start, where there are several
SECONDS = 10.0  # between two lines of progress
HELD_OUT = 500_000  # tokens, at most, of which the score is reported


@dataclass(frozen=True)
class BaumWelch:
    """How an HMM is fitted."""

    iterations: int = 50
    """Steps of expectation and maximisation, at most."""
    tolerance: int | float = 1e-5
    """Nats a symbol; a step that gains less is the last."""
    prior: int | float = 0.01
    """Added to every count of a move or a symbol, so that what was not seen stays possible."""
    symbols: int = 1_000_000
    """How many symbols (letters, lines) are learnt from, at most; what takes time is their number."""
    starts: int = 1
    """Random models that begin, of which the likeliest after some iterations goes on: maxima are local."""
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.iterations, self.symbols, self.starts) < 1 or self.seed < 0:
            raise InputError("iterations, symbols and starts are at least 1, and the seed at least 0")
        if not 0 <= self.prior < math.inf or not math.isfinite(self.tolerance):
            raise InputError(f"the prior is 0 or more and finite, not {self.prior}")


def train_text(
    shape: HMMConfig, data: tuple[str, ...], out: Path, training: BaumWelch, on_event: Listener | None
) -> str:
    """Fit an HMM to tokens of documents or of prepared shards; tell the bits per byte of held-out ones."""
    tokenizer, train, held = _tokens(data, shape.size, on_event)
    pieces = list(_up_to(_pieces(train), training.symbols))
    names = [symbol_name(tokenizer, token) for token in range(tokenizer.vocab_size)]
    config = replace(shape, size=tokenizer.vocab_size)
    model = _fit(config, names, pieces, out, training, on_event, tokenizer)
    some = list(_up_to(held, HELD_OUT))
    size = sum(len(tokenizer.decode_bytes(ids[:-1])) for ids in some)
    bits = -sum(map(model.score, some)) / math.log(2) / size
    return f"{out}: {model.config.n_states} states; held-out bits per byte {bits:.4f} over {size:,} bytes"


def symbol_name(tokenizer: Tokenizer, token: int) -> str:
    """What a token spells, or that it spells nothing."""
    try:
        return tokenizer.decode([token])
    except InputError:  # published vocabularies have gaps
        return f"unused {token}"


def train_letters(
    shape: HMMConfig, data: tuple[str, ...], out: Path, training: BaumWelch, on_event: Listener | None
) -> str:
    """Fit an HMM to the letters and the spaces of documents (Cave and Neuwirth 1980), and tell its states."""
    place = {letter: number for number, letter in enumerate(LETTERS)}

    def letters() -> Iterator[list[int]]:
        for document in read_documents(data, report=_teller(on_event)):
            words = "".join(one if one in place else " " for one in document.text.lower()).split()
            yield [place[letter] for letter in " ".join(words)]

    pieces = list(_up_to(_pieces(letters()), training.symbols))
    config = replace(shape, size=len(LETTERS))
    model = _fit(config, list(LETTERS), pieces, out, training, on_event)
    nats = sum(map(model.score, pieces)) / sum(map(len, pieces))
    return f"{out}: {-nats / math.log(2):.4f} bits a letter; `bottega show states {out} --out states.png`"


def train_lines(
    shape: HMMConfig, data: tuple[str, ...], out: Path, training: BaumWelch, on_event: Listener | None
) -> str:
    """Fit an HMM of Gaussian states to how lines of documents look: their length, and how wordy they are.

    Tell the nats of held-out lines, and what one Gaussian needs, to which all lines are alike.
    """
    taught, held = (
        ([look(line) for line in document.text.splitlines() if line.strip()] for document in documents)
        for documents in open_corpus(data, report=_teller(on_event))
    )
    pieces = list(_up_to(_pieces(taught), training.symbols))
    config = replace(shape, size=len(FEATURES))
    model = _fit(config, list(FEATURES), pieces, out, training, on_event)
    alike = HMM.drawn(replace(config, n_states=1), pieces, training.seed)
    alike.fit(pieces, 2)
    unseen = list(_up_to(_pieces(held), training.symbols))
    lines = sum(map(len, unseen))
    ours, theirs = (-sum(map(one.score, unseen)) / max(1, lines) for one in (model, alike))
    said = f"{out}: {model.config.n_states} states; {ours:.3f} nats a line over {lines:,} held-out lines"
    return f"{said}, one Gaussian {theirs:.3f}; `bottega show states {out} --out states.png`"


def look(line: str) -> list[float]:
    """How a line of text looks, in two numbers without bounds: see FEATURES."""
    dense = "".join(line.split())
    letters = sum(map(str.isalpha, dense))
    return [math.log(1 + len(line.rstrip())), math.log((letters + 0.5) / (len(dense) - letters + 0.5))]


def _fit(
    config: HMMConfig,
    names: list[str],
    pieces: Sequence[Any],
    out: Path,
    training: BaumWelch,
    on_event: Listener | None,
    tokenizer: Tokenizer | None = None,
) -> HMM:
    """Draw a model, fit it, and write it with the names of its symbols and the tokenizer that makes them.

    Ctrl-C writes it as it was after the last whole iteration.
    """
    check_free(out, MODEL_TYPE)
    if not pieces:
        raise InputError("the documents hold nothing to learn from; give more text")
    say = _teller(on_event)
    models = [HMM.drawn(config, pieces, training.seed + start) for start in range(training.starts)]
    model = models[0]
    size = sum(map(len, pieces))
    say(f"{size:,} symbols, {config.n_states} states; at most {training.iterations} iterations")

    def save() -> None:
        model.save_pretrained(out)
        write_symbols(out, names)
        if tokenizer is not None:
            tokenizer.save(out)

    try:
        if len(models) > 1:
            reached = [
                one.fit(pieces, FIRST, training.tolerance, training.prior, _progress(say, f"start {n}, "))[-1]
                for n, one in enumerate(models, start=1)
            ]
            model = models[reached.index(max(reached))]
            say(
                f"{training.starts} starts reached {', '.join(f'{nats / size:.4f}' for nats in reached)} nats"
            )
        model.fit(pieces, training.iterations, training.tolerance, training.prior, _progress(say))
    except KeyboardInterrupt:
        save()
        raise Stopped(
            f"stopped; {out} holds the model as far as it came; the same command starts again"
        ) from None
    save()
    return model


def _progress(say: Callable[[str], None], what: str = "") -> Callable[[int, int], None]:
    """Tells every SECONDS how many iterations are done, and how long the rest takes at most."""
    begin = told = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= SECONDS:
            told = now
            left = (now - begin) / done * (total - done)
            say(f"{what}iteration {done:,} of {total:,} · {left:,.0f} s left at most")

    return progress


def _tokens(
    data: tuple[str, ...], vocabulary: int, on_event: Listener | None
) -> tuple[Tokenizer, Iterator[list[int]], Iterator[list[int]]]:
    """A tokenizer, and the tokens of training and of held-out documents, each with its end."""
    if are_prepared(data):
        folder, *others = mixture(data)
        if others:
            raise InputError(f"an HMM takes one prepared folder, not {len(data)}")
        made, kept = (TokenShards.open(folder / part) for part in ("train", "heldout"))
        return made.tokenizer(), _documents(made), _documents(kept)
    training, held = open_corpus(data, report=_teller(on_event))
    documents = [document.text for document in training]
    sample = list(_up_to(iter(documents), TOKENIZER_TEXT))
    tokenizer = Tokenizer.train(sample, vocabulary, exact=False)

    def encoded(texts: list[str]) -> Iterator[list[int]]:
        return ([*tokenizer.encode(text), tokenizer.end_of_text] for text in texts)

    return tokenizer, encoded(documents), encoded([document.text for document in held])


def _documents(shards: TokenShards) -> Iterator[list[int]]:
    for number in range(shards.n_documents):
        yield [*shards.document(number).tolist(), shards.end_of_text]


def _pieces(sequences: Iterator[Any]) -> Iterator[Any]:
    for sequence in sequences:
        for begin in range(0, len(sequence), PIECE):
            yield sequence[begin : begin + PIECE]


def _up_to(sequences: Iterator[Any], limit: int) -> Iterator[Any]:
    """Sequences until they hold `limit` symbols together."""
    total = 0
    for sequence in sequences:
        yield sequence
        total += len(sequence)
        if total >= limit:
            return


def _teller(on_event: Listener | None) -> Callable[[str], None]:
    def say(text: str) -> None:
        if on_event is not None:
            on_event(Notice(text))

    return say


_DOCUMENTS = "embedded, or any documents: data sets, files, folders"

PRESETS: dict[str, Preset] = {
    "hmm": Preset(
        about="hidden Markov model of bytes or tokens (Rabiner 1989): a language model",
        shape=HMMConfig(64, "categorical", BYTES_ALONE),
        training=BaumWelch(),
        run=train_text,
        data=DATA,
        minutes=2.0,
        expected="3.350 bits per byte of wikipedia-good, by bytes",
        not_offered=("emissions",),
    ),
    "hmm-letters": Preset(
        about="two hidden states of English letters: vowels and consonants (Cave & Neuwirth 1980)",
        shape=HMMConfig(2, "categorical", len(LETTERS)),
        training=BaumWelch(iterations=200, tolerance=1e-7, symbols=50_000, starts=5),
        run=train_letters,
        data=_DOCUMENTS,
        expected="3.967 bits a letter, on wikitext2-valid",
        not_offered=("emissions", "size"),
    ),
    "hmm-gaussian": Preset(
        about="hidden Markov model of how lines look, with Gaussian states: code, prose, headings",
        shape=HMMConfig(4, "gaussian", len(FEATURES)),
        training=BaumWelch(iterations=200, symbols=100_000),
        run=train_lines,
        data=_DOCUMENTS,
        minutes=0.4,
        expected="2.227 nats a held-out line of embedded, one Gaussian 2.687",
        not_offered=("emissions", "size"),
    ),
}
