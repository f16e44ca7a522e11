"""BERT's presets: pre-training on any documents, and a classifier over what was pre-trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bottega.data.corpus import open_corpus
from bottega.data.documents import Document
from bottega.data.labelled import open_labelled
from bottega.data.labelled_batches import LabelledBatches
from bottega.data.masked import MaskedPairs, Vocabulary
from bottega.errors import InputError
from bottega.evaluation.classification import held_out_line
from bottega.models.bert import BERT, BERTConfig, classifier_from, shortened
from bottega.models.load import resolve
from bottega.nn.loss import IGNORE
from bottega.recipes.preset import Preset
from bottega.text.wordpiece import WordPiece
from bottega.training.config import TrainingConfig
from bottega.training.distributed import local_device, world_from_environment
from bottega.training.events import Listener, Notice
from bottega.training.loop import Sample, train
from bottega.training.validation import HeldOut

CHARACTERS = 40_000_000  # of training text, which is kept encoded in memory; more is left unread
VOCABULARY_DOCUMENTS = 3_000  # from which the vocabulary is learnt


def pretrain_bert(
    shape: BERTConfig, data: tuple[str, ...], out: Path, training: TrainingConfig, on_event: Listener | None
) -> str:
    """Pre-train a BERT of this shape on documents, with a WordPiece vocabulary learnt from them.

    The run's folders open in `transformers`. Raises what `open_corpus` and `train` raise.
    """
    if world_from_environment().size > 1:
        raise InputError("BERT is pre-trained by one process here; start it without torchrun")

    def say(text: str) -> None:
        if on_event is not None:
            on_event(Notice(text))

    documents, held = open_corpus(data, report=say)
    texts = list(_up_to(CHARACTERS, documents, say))
    folder = out / "tokenizer"
    tokenizer = _tokenizer(folder, texts, shape.vocab_size)
    shape = replace(shape, vocab_size=tokenizer.vocab_size, pad=tokenizer.pad)
    vocabulary = Vocabulary(tokenizer.vocab_size, tokenizer.pad, tokenizer.cls, tokenizer.sep, tokenizer.mask)

    def pairs(some: list[str]) -> MaskedPairs:
        encoded = [np.array(ids, np.int32) for ids in tokenizer.encode_batch(some, frame=False)]
        return MaskedPairs(encoded, vocabulary, training.batch_size, shape.context_length, training.seed)

    batches, validation = pairs(texts), pairs([document.text for document in held])
    say(f"{batches.n_tokens:,} tokens to train on, {validation.n_tokens:,} held out")
    torch.manual_seed(training.seed)
    with local_device():
        model = BERT(shape)
    result = train(
        model,
        batches,
        out,
        training,
        validation=HeldOut(partial(validation.in_order, training.batch_size)),
        sample=guesses(tokenizer, validation),
        tokenizer=folder,
        on_event=on_event,
    )
    values = "".join(f", held-out {name} {value:.4f}" for name, value in result.validation.items())
    return f"{result.checkpoint}: {result.step:,} steps, {result.tokens:,} tokens{values}"


def guesses(tokenizer: WordPiece, held_out: MaskedPairs) -> Sample:
    """What shows a held-out row with each hidden token and, behind an arrow, what BERT takes it for."""
    batch = next(held_out.in_order(1))
    ids, targets = batch["ids"][0], batch["targets"][0]
    shown = ids[ids != tokenizer.pad]

    def sample(model: nn.Module, _step: int) -> str:
        assert isinstance(model, BERT)
        device = model.encoder.tok_emb.weight.device
        best = model(batch["ids"].to(device), batch["segments"].to(device))[0].argmax(-1).cpu()
        own = tokenizer.tokens(torch.where(targets == IGNORE, ids, targets)[: len(shown)].tolist())
        taken = tokenizer.tokens(best[: len(shown)].tolist())
        hidden = (targets != IGNORE).tolist()
        words = (
            f"{{{mine}→{guess}}}" if asked else mine
            for mine, guess, asked in zip(own, taken, hidden, strict=False)
        )
        return " ".join(words).replace(" ##", "")

    return sample


def _up_to(characters: int, documents: Iterable[Document], say: Callable[[str], None]) -> Iterator[str]:
    taken = 0
    for document in documents:
        if taken >= characters:
            say(f"the first {taken:,} characters are trained on; the rest is left unread")
            return
        taken += len(document.text)
        yield document.text


def _tokenizer(folder: Path, texts: list[str], vocab_size: int) -> WordPiece:
    """That of the run, so that a run resumed has the same; learnt where there is none."""
    if (folder / "tokenizer.json").is_file():
        return WordPiece.load(folder)
    some = islice(texts[:: max(1, len(texts) // VOCABULARY_DOCUMENTS)], VOCABULARY_DOCUMENTS)
    tokenizer = WordPiece.train((text[:20_000] for text in some), vocab_size)
    tokenizer.save(folder)
    return tokenizer


@dataclass(frozen=True)
class ClassifierShape:
    """All that a classifier adds to the BERT that it is built on."""

    dropout: float = 0.1


@dataclass(frozen=True)
class FineTuning(TrainingConfig):
    """A run's options, and what it begins from."""

    model: str = ""
    """The BERT to fine-tune: a run, a folder, or a repository of the Hub."""
    text_field: str = "text"
    label_field: str = "label"


def finetune_classifier(
    shape: ClassifierShape, data: tuple[str, ...], out: Path, training: FineTuning, on_event: Listener | None
) -> str:
    """Fine-tune a pre-trained BERT as a classifier (Devlin et al. 2018, section 4.1) and measure it.

    Raises what `open_labelled` and `train` raise, and InputError where no BERT is named.
    """
    if world_from_environment().size > 1:
        raise InputError("a classifier is fine-tuned by one process here; start it without torchrun")
    if not training.model:
        raise InputError("name the BERT to fine-tune: --model RUN, of `bottega train bert-tiny` or of others")

    def say(text: str) -> None:
        if on_event is not None:
            on_event(Notice(text))

    taught, held = open_labelled(data, training.text_field, training.label_field, report=say)
    classes = sorted(set(taught.labels))
    folder = resolve(training.model)
    tokenizer = WordPiece.load(folder)
    torch.manual_seed(training.seed)
    with local_device():
        model = classifier_from(folder, classes, shape.dropout)
    model.tokenizer = tokenizer
    context, pad, number = (
        model.config.context_length,
        model.config.pad,
        {c: i for i, c in enumerate(classes)},
    )

    def batches(texts: list[str], labels: list[str], rows: int) -> LabelledBatches:
        ids = [shortened(row, context) for row in tokenizer.encode_batch(texts)]
        return LabelledBatches(ids, [number[label] for label in labels], rows, pad, training.seed)

    known = [i for i, label in enumerate(held.labels) if label in number]
    validation = batches([held.texts[i] for i in known], [held.labels[i] for i in known], min(64, len(known)))
    result = train(
        model,
        batches(taught.texts, taught.labels, training.batch_size),
        out,
        training,
        validation=HeldOut(validation.in_order) if known else None,
        tokenizer=folder,
        on_event=on_event,
    )
    line = f"{result.checkpoint}: {result.step:,} steps on {len(taught):,} texts of {len(classes)} classes"
    return f"{line}; {held_out_line(model.eval(), held)}"


_DOCUMENTS = "embedded, or any documents"
_PAPER = TrainingConfig(
    steps=1_000_000,
    batch_size=256,
    optimizer="adamw",
    learning_rate=1e-4,
    weight_decay=0.01,
    beta2=0.999,
    warmup_steps=10_000,
    decay_fraction=1.0,
)
_NOT_OFFERED = ("pad", "n_segment", "norm_eps")

PRESETS: dict[str, Preset] = {
    "bert-tiny": Preset(
        about="BERT of 2 layers, 128 wide (the size of Turc et al. 2019)",
        shape=BERTConfig(8000, 128, 2, 2, 128, dropout=0.0),
        training=TrainingConfig(minutes=4.0, batch_size=32),
        run=pretrain_bert,
        data=_DOCUMENTS,
        expected="loss 6.94 nats (hidden tokens, next sentence), on wikipedia-good",
        not_offered=_NOT_OFFERED,
    ),
    "bert-base": Preset(
        about="BERT-base: 12 layers, 768 wide, trained as the paper did",
        shape=BERTConfig(),
        training=_PAPER,
        run=pretrain_bert,
        data=_DOCUMENTS,
        not_offered=_NOT_OFFERED,
    ),
    "bert-large": Preset(
        about="BERT-large: 24 layers, 1024 wide, trained as the paper did",
        shape=BERTConfig(n_layer=24, n_head=16, n_embd=1024),
        training=_PAPER,
        run=pretrain_bert,
        data=_DOCUMENTS,
        not_offered=_NOT_OFFERED,
    ),
    "bert-classifier": Preset(
        about="a classifier over the [CLS] of a pre-trained BERT, which --model names",
        shape=ClassifierShape(),
        training=FineTuning(
            steps=600, batch_size=32, optimizer="adamw", learning_rate=2e-4, weight_decay=0.01, beta2=0.999
        ),
        run=finetune_classifier,
        expected="76.3 % on SST-2's dev part, over four minutes of bert-tiny",
        data="embedded; sst2, trec, rte, cb; or a .jsonl, .tsv or .csv with a text and a label a line",
        base="bert-tiny",
    ),
}
