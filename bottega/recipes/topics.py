"""Topic models as presets: documents in; topics, the documents' mixtures and what was measured out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bottega.data.corpus import open_corpus
from bottega.data.disk import atomic_file
from bottega.data.documents import Document
from bottega.errors import InputError, Stopped
from bottega.evaluation.topics import coherence, complete_documents
from bottega.models.lda import LDA, MODEL_TYPE, LDAConfig
from bottega.models.lda_gibbs import Gibbs
from bottega.models.lda_variational import OnlineBayes
from bottega.recipes.preset import Preset, check_free
from bottega.training.events import Listener, Notice

TITLE, EXCERPT = 80, 240  # characters of a document that its run keeps, for whoever looks at the topics
_SAY_EVERY = 10.0  # seconds
_DATA = "embedded, or any documents: files, folders, names that `bottega data list` shows"


@dataclass(frozen=True)
class TopicRun:
    """What `bottega train lda` wrote: the model, and of each training document its beginning and mixture."""

    model: LDA
    titles: list[str]
    excerpts: list[str]
    mixtures: np.ndarray
    """θ (document, topic), float32."""


def train_topics(
    shape: LDAConfig,
    data: tuple[str, ...],
    out: Path,
    inference: Gibbs | OnlineBayes,
    on_event: Listener | None = None,
) -> str:
    """Find the topics of the training documents, and measure them on the held-out ones.

    Raises InputError where `out` holds something else, or no word is left to count; Stopped after a Ctrl-C,
    with the topics so far in `out`.
    """

    def say(line: str) -> None:
        if on_event:
            on_event(Notice(line))

    check_free(out, MODEL_TYPE)
    streamed, held_out = open_corpus(data, report=say)
    training = list(streamed)
    prepare = shape.preparation()
    words = [prepare(document.text) for document in training]
    say(f"{len(training):,} documents of {sum(map(len, words)):,} words that may count")
    progress = _Progress("sweep" if isinstance(inference, Gibbs) else "batch", say)
    model = LDA.fit_words(words, shape, inference, progress)
    ids = [model.vocabulary.ids(document) for document in words]
    write_run(out, model, training, model.mixtures(ids))
    if progress.done < progress.total:
        raise Stopped(
            f"stopped at {progress.unit} {progress.done:,} of {progress.total:,}; the topics so far are in "
            f"{out}; the same command starts again"
        )
    top = np.argsort(-model.topics, axis=0, kind="stable")[:10].T.tolist()
    line = (
        f"{out}: {shape.n_topics:,} topics of {len(training):,} documents and {len(model.vocabulary):,} "
        f"words, coherence {np.mean(coherence(top, ids)):.3f} NPMI"
    )
    try:
        held = complete_documents(
            [model.vocabulary.ids(prepare(document.text)) for document in held_out], model.topics, model.alpha
        )
    except InputError:  # documents of a word or two: the topics are there all the same
        return f"{line}; too little is held out to measure a perplexity"
    return f"{line}, held-out perplexity {held.perplexity:,.0f} a word by completing documents"


def write_run(out: Path, model: LDA, documents: Sequence[Document], mixtures: np.ndarray) -> None:
    """Write the model, and beside it documents.jsonl and mixtures.safetensors (document, topic)."""
    from safetensors.numpy import save

    model.save_pretrained(out)
    with atomic_file(out / "documents.jsonl") as file:
        for document in documents:
            title, _, rest = document.text.strip().partition("\n")
            kept = {
                "name": document.name,
                "title": title[:TITLE],
                "text": " ".join(rest[: 2 * EXCERPT].split())[:EXCERPT],
            }
            file.write((json.dumps(kept, ensure_ascii=False) + "\n").encode())
    with atomic_file(out / "mixtures.safetensors") as file:
        file.write(save({"mixtures": mixtures.astype(np.float32)}))


def read_run(folder: str | Path) -> TopicRun:
    """Read what `write_run` wrote; InputError where something is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give what `bottega train lda` wrote")
    model = LDA.from_pretrained(folder)
    try:
        # Not splitlines: titles may hold what Unicode calls a line's end.
        lines = (folder / "documents.jsonl").read_text("utf-8").rstrip("\n").split("\n")
        documents = [json.loads(line) for line in lines]
        titles, excerpts = ([str(document[key]) for document in documents] for key in ("title", "text"))
        mixtures = load_file(folder / "mixtures.safetensors")["mixtures"]
        if mixtures.shape != (len(titles), model.config.n_topics) or not np.isfinite(mixtures).all():
            raise ValueError(f"mixtures of {mixtures.shape} for {len(titles)} documents")
    except FileNotFoundError:
        raise InputError(
            f"{folder} lacks documents.jsonl or mixtures.safetensors; give what `bottega train lda` wrote"
        ) from None
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{folder} is damaged ({reason}); train the topics again") from None
    return TopicRun(model, titles, excerpts, mixtures)


class _Progress:
    """Says now and then how far the work has come, and remembers it."""

    def __init__(self, unit: str, say: Callable[[str], None]) -> None:
        self.unit, self.say = unit, say
        self.began = self.said = time.monotonic()
        self.done = self.total = 0

    def __call__(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        now = time.monotonic()
        if now - self.said >= _SAY_EVERY:
            self.said = now
            left = (now - self.began) / done * (total - done)
            self.say(f"{self.unit} {done:,} of {total:,} · {left:,.0f} s left")


PRESETS: dict[str, Preset] = {
    "lda": Preset(
        about="LDA: topics by collapsed Gibbs sampling",
        shape=LDAConfig(),
        training=Gibbs(),
        run=train_topics,
        data=_DATA,
        minutes=1.3,
        expected="perplexity 2,310 (completed halves) on wikipedia-good",
    ),
    "lda-online": Preset(
        about="LDA: topics by online variational Bayes",
        shape=LDAConfig(),
        training=OnlineBayes(),
        run=train_topics,
        data=_DATA,
        minutes=0.7,
        expected="perplexity 2,921 (completed halves) on wikipedia-good",
    ),
}
