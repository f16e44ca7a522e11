"""Word2Vec as presets: documents in, a folder of word vectors out, with the analogies that it gets right."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bottega.data.documents import read_documents
from bottega.errors import Stopped
from bottega.evaluation.analogies import measure_analogies
from bottega.models.word2vec import MODEL_TYPE, Word2Vec, Word2VecConfig, Word2VecTraining
from bottega.recipes.preset import Preset, check_free
from bottega.text.words import words
from bottega.training.events import Listener, Notice

_SECONDS = 10.0  # between two lines of progress


def read_sentences(data: tuple[str, ...], on_event: Listener | None = None) -> Iterator[list[str]]:
    """The lines of all documents as lists of lower-cased words; of prose a line is mostly a paragraph."""
    for document in read_documents(data, report=_teller(on_event)):
        for line in document.text.splitlines():
            if found := words(line):
                yield found


def train_words(
    shape: Word2VecConfig,
    data: tuple[str, ...],
    out: Path,
    training: Word2VecTraining,
    on_event: Listener | None,
) -> str:
    """Learn vectors of the words of some documents, write them, and ask the model analogies.

    Ctrl-C writes the vectors as far as they came. Raises InputError where the documents hold too few words,
    or `out` something else.
    """
    say = _teller(on_event)
    check_free(out, MODEL_TYPE)
    model, corpus = Word2Vec.drawn(read_sentences(data, on_event), shape, training.seed)
    say(f"{len(corpus.ids):,} words, {len(model.words):,} different; {training.epochs} readings")
    begin = told = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal told
        if (now := time.monotonic()) - told > _SECONDS:
            told, speed = now, done / (now - begin)
            say(f"{done / total:.0%}, {speed:,.0f} words/s, {(total - done) / speed:,.0f} s left")

    try:
        model.learn(corpus, training, progress)
    except KeyboardInterrupt:
        model.save_pretrained(out)
        raise Stopped(
            f"stopped; {out} holds the vectors as far as they came; the same command starts again"
        ) from None
    seconds = max(time.monotonic() - begin, 1e-3)
    model.save_pretrained(out)
    speed = training.epochs * len(corpus.ids) / seconds
    said = f"{out}: vectors of {len(model.words):,} words from {len(corpus.ids):,}, {speed:,.0f} words/s"
    answers = measure_analogies(model)
    if not answers.asked:
        return said
    return f"{said}; of {sum(answers.asked.values()):,} analogies {answers.share:.1%} right"


def _teller(on_event: Listener | None) -> Callable[[str], None]:
    """Says one line to a listener, if there is one."""

    def say(text: str) -> None:
        if on_event is not None:
            on_event(Notice(text))

    return say


_DATA = "embedded, or any documents: data sets, files, folders"

PRESETS: dict[str, Preset] = {
    "word2vec": Preset(
        about="Word2Vec, skip-gram with negative samples (Mikolov et al. 2013)",
        shape=Word2VecConfig(),
        training=Word2VecTraining(),
        run=train_words,
        data=_DATA,
        expected="42.9 % of 2,086 analogies, on wikipedia-good",
    ),
    "word2vec-cbow": Preset(
        about="Word2Vec, continuous bag of words (Mikolov et al. 2013)",
        shape=Word2VecConfig(architecture="cbow"),
        training=Word2VecTraining(rate=0.05),
        run=train_words,
        data=_DATA,
        expected="44.5 % of 2,086 analogies, on wikipedia-good",
    ),
}
