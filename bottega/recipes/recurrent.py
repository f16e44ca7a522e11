"""Recurrent language models as presets: Elman's network, the LSTM, the GRU, with as many parameters each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bottega.models.recurrent import RecurrentConfig
from bottega.recipes.gpt import summary
from bottega.recipes.preset import Preset
from bottega.recipes.text_shards import DATA, shards_of
from bottega.training.config import TrainingConfig
from bottega.training.events import Listener
from bottega.training.pretrain import pretrain

VOCABULARY = 4096  # of a tokenizer that is trained for the run
TRAINING = TrainingConfig(minutes=10.0, batch_size=32)


def train(
    shape: RecurrentConfig,
    data: tuple[str, ...],
    out: Path,
    training: TrainingConfig,
    on_event: Listener | None,
) -> str:
    """Train a recurrent language model on prepared shards or on documents; return what the run came to."""
    folders = shards_of(data, out, shape.vocab_size, on_event)
    return summary(pretrain(shape, folders, out, training, on_event))


def _preset(about: str, shape: RecurrentConfig, bits: str, training: TrainingConfig = TRAINING) -> Preset:
    return Preset(
        about=about,
        shape=shape,
        training=training,
        run=train,
        data=DATA,
        expected=f"{bits} bits per byte of wikipedia-good after 4 minutes, at 3.0 M parameters",
        not_offered=("streams",),  # the batch size
    )


# About 3.3 million parameters each with a vocabulary of 4,096, like modern-3m.
PRESETS: dict[str, Preset] = {
    "rnn": _preset(
        "Elman network (Elman 1990; Mikolov et al. 2010): 2 layers of 768",
        RecurrentConfig(VOCABULARY, "rnn", n_hidden=768, dropout=0.1),
        "2.13",
    ),
    "lstm": _preset(
        "LSTM (Hochreiter & Schmidhuber 1997; Gers et al. 2000): 2 layers of 384",
        RecurrentConfig(VOCABULARY, "lstm", n_hidden=384, dropout=0.1),
        "2.01",
        # After 300 steps 2.01 bits per byte of the embedded text; 2.16 with the default of 0.02.
        replace(TRAINING, matrix_learning_rate=0.05),
    ),
    "gru": _preset(
        "GRU (Cho et al. 2014): 2 layers of 448",
        RecurrentConfig(VOCABULARY, "gru", n_hidden=448, dropout=0.1),
        "2.05",
    ),
}
