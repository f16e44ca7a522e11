"""The preset of a sentence encoder: titles and paragraphs in, a folder that embeds texts out."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from bottega.data.contrastive import ContrastivePairs, EncodedTitles, PairOptions
from bottega.data.titled import Titled, read_titled
from bottega.errors import InputError
from bottega.evaluation.retrieval import VARIANTS, cosines, tfidf, title_retrieval
from bottega.models.sentence_encoder import SentenceEncoder, SentenceEncoderConfig
from bottega.recipes.preset import Preset
from bottega.text.wordpiece import WordPiece
from bottega.training.config import TrainingConfig
from bottega.training.distributed import local_device, world_from_environment
from bottega.training.events import Listener, Notice
from bottega.training.loop import train
from bottega.training.validation import HeldOut

VOCABULARY_TEXT = 40_000  # paragraphs from which the vocabulary is learnt
IDF_TEXT = 60_000  # paragraphs from which TF-IDF's weights are learnt, for the comparison


def train_sentence_encoder(
    shape: SentenceEncoderConfig,
    data: tuple[str, ...],
    out: Path,
    training: TrainingConfig,
    on_event: Listener | None,
) -> str:
    """Train an encoder on titles and paragraphs, and measure it beside TF-IDF on the held-out ones.

    The vocabulary is learnt from the training paragraphs. An encoder without layers begins as TF-IDF. Raises
    what `read_titled` and `train` raise.
    """
    if world_from_environment().size > 1:
        raise InputError("a sentence encoder is trained by one process: its negatives are those of its batch")

    def say(text: str) -> None:
        if on_event is not None:
            on_event(Notice(text))

    def encode(texts: list[str]) -> list[list[int]]:
        return tokenizer.encode_batch(texts, frame=False)

    taught, held = read_titled(data, report=say)
    folder = out / "tokenizer"
    tokenizer = _tokenizer(folder, taught, shape.vocab_size)
    pairs = EncodedTitles.of(taught, encode)
    say(f"{len(taught):,} titles over {sum(map(len, pairs.paragraphs)):,} paragraphs, {len(held):,} held out")
    shape = replace(shape, vocab_size=tokenizer.vocab_size, pad=tokenizer.pad)
    torch.manual_seed(training.seed)
    with local_device():
        model = SentenceEncoder(shape)
    frame = ([tokenizer.cls], [tokenizer.sep]) if model.framed else ([], [])
    if not shape.n_layer:
        model.begin_as_tfidf(*pairs.document_frequencies(shape.vocab_size))
    options = PairOptions(length=min(PairOptions.length, shape.longest - 2))
    batches = ContrastivePairs(pairs, training.batch_size, shape.pad, options, frame, training.seed)
    rows = min(training.batch_size, len(held))
    validation = ContrastivePairs(EncodedTitles.of(held, encode), rows, shape.pad, options, frame)
    result = train(
        model,
        batches,
        out,
        training,
        validation=HeldOut(validation.in_order),
        tokenizer=folder,
        on_event=on_event,
    )
    model.tokenizer = tokenizer if model.framed else tokenizer.without_frame()
    lines = []
    if len(held) >= 10:
        say(f"{len(held):,} held-out titles look for their paragraphs, by the encoder and by TF-IDF")
        lines = _compared(model.eval(), taught, held)
    return "\n".join([f"{result.checkpoint}: {result.step:,} steps", *lines])


def _tokenizer(folder: Path, taught: list[Titled], vocab_size: int) -> WordPiece:
    """That of the run, so that a run resumed has the same; learnt where there is none."""
    if (folder / "tokenizer.json").is_file():
        return WordPiece.load(folder)
    # Some of every document, rather than all of some.
    some = (
        text for one in taught for text in (one.title, *one.paragraphs[:: max(1, len(one.paragraphs) // 8)])
    )
    tokenizer = WordPiece.train(islice(some, VOCABULARY_TEXT), vocab_size)
    tokenizer.save(folder)
    return tokenizer


def _compared(model: SentenceEncoder, taught: list[Titled], held: list[Titled]) -> list[str]:
    paragraphs = islice((text for one in taught for text in one.paragraphs), IDF_TEXT)
    # TF-IDF indexes what it searches, so that it knows the words that only stand there.
    searched = [text for one in held for text in one.paragraphs]
    ours = title_retrieval(held, cosines(model.encode))
    theirs = title_retrieval(held, tfidf([*paragraphs, *searched]))
    lines = [f"recall@1 / recall@5 / MRR of {len(held):,} held-out titles, by the encoder and by TF-IDF:"]
    for name in VARIANTS:
        cells = (f"{x.recall_1:.3f} / {x.recall_5:.3f} / {x.mrr:.3f}" for x in (ours[name], theirs[name]))
        lines.append(f"  {name:<40} {'    '.join(cells)}")
    return lines


PRESETS: dict[str, Preset] = {
    "sentence-encoder": Preset(
        about="sentence encoder: titles find their paragraphs",
        shape=SentenceEncoderConfig(
            60_000, context_length=2048, n_embd=1536, pooling="log-mean", temperature=0.02
        ),
        training=TrainingConfig(
            steps=250,
            batch_size=2048,  # of which each text is a negative for all the others
            optimizer="adamw",
            learning_rate=5e-3,
            weight_decay=0.0,
            beta2=0.98,
            decay_fraction=1.0,
            precision="fp32",
            compile="off",
        ),
        run=train_sentence_encoder,
        minutes=4.0,
        expected="MRR 0.726, TF-IDF 0.671: titles to paragraphs of 612 held-out Wikipedia articles",
        data="embedded, or any documents whose first line is their title, such as wikipedia-good",
        not_offered=("pad", "normalized", "n_segment", "norm_eps"),
    ),
}
