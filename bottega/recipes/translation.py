"""Translators from pairs of sentences: the presets, and the job that trains any of them.

The job learns one vocabulary for both languages from the training pairs (Sennrich et al. 2016), encodes,
trains by the one loop, and validates on the whole held-out split.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from bottega.data.near_sentences import near
from bottega.data.pair_loader import EncodedPairs, PairLoader, Vocabulary, encode_pairs
from bottega.data.pairs import SPECIAL_TOKENS, Pairs, read_pairs
from bottega.models.seq2seq import Seq2SeqConfig
from bottega.models.transformer import TransformerConfig
from bottega.recipes.preset import Preset
from bottega.text.tokenizer import Tokenizer
from bottega.training.config import TrainingConfig
from bottega.training.distributed import local_device, world_from_environment
from bottega.training.events import Listener, Notice
from bottega.training.loop import train
from bottega.training.validation import HeldOut

# Follow from the data, or are said in the preset's name.
NOT_OFFERED = ("pad", "bos", "eos")


@runtime_checkable
class Translator(Protocol):
    """A translator's configuration: a frozen dataclass with these fields, which builds its model."""

    vocab_size: int
    context_length: int
    pad: int
    bos: int
    eos: int
    source_language: str
    target_language: str

    def build(self) -> nn.Module:
        """A model of this shape, freshly drawn."""
        ...


def train_translator(
    shape: Any,
    data: tuple[str, ...],
    out: Path,
    training: TrainingConfig,
    on_event: Listener | None,
    *,
    left_out: tuple[str, ...] = (),
) -> str:
    """Train the translator that `shape` describes (a `Translator`) on the pairs of `data`; see `read_pairs`.

    Pairs that give fewer tokens than the shape has make a smaller vocabulary. `left_out` are sentences that
    neither side of a pair that is trained on equals, nor nearly equals. Returns a line on what came of
    it. Raises what `read_pairs`, `encode_pairs` and `train` raise.
    """
    pairs = read_pairs(data, shape.source_language, shape.target_language, "train")
    held_out = read_pairs(data, shape.source_language, shape.target_language, "val")
    is_near = near(left_out)
    taught = pairs.where(lambda *sides: not any(map(is_near, sides))) if left_out else pairs
    tokenizer = Tokenizer.train(
        chain(taught.source, taught.target), shape.vocab_size, special_tokens=SPECIAL_TOKENS, exact=False
    )
    words = Vocabulary.of(tokenizer)
    shape = replace(shape, vocab_size=words.size, pad=words.pad, bos=words.bos, eos=words.eos)
    encoded = encode_pairs(taught, tokenizer, shape.context_length)
    validation = encode_pairs(held_out, tokenizer, shape.context_length)
    if on_event is not None:
        on_event(Notice(_account("to train on", pairs, taught, encoded)))
        on_event(Notice(_account("held out", held_out, held_out, validation)))
        on_event(Notice(f"{words.size:,} different tokens"))
    folder = out / "tokenizer"
    world = world_from_environment()
    if world.writes:
        tokenizer.save(folder)
    torch.manual_seed(training.seed)
    with local_device():
        model = shape.build()
    result = train(
        model,
        PairLoader(encoded, training.batch_size, seed=training.seed, rank=world.rank, world_size=world.size),
        out,
        training,
        validation=HeldOut(partial(validation.in_order, training.batch_size)),
        sample=None,
        tokenizer=folder,
        on_event=on_event,
    )
    values = "".join(f", held-out {name} {value:.4f}" for name, value in result.validation.items())
    return f"{result.checkpoint}: {result.step:,} steps, {result.tokens:,} tokens{values}"


def _account(purpose: str, pairs: Pairs, taught: Pairs, encoded: EncodedPairs) -> str:
    """What became of the pairs that were read; nothing is left out in silence."""
    reasons = {
        "with an empty side": pairs.empty,
        "held out in another source": pairs.copies,
        "near a sentence of the test": len(pairs) - len(taught),
        "too long for the context": encoded.too_long,
    }
    left = ", ".join(f"{count:,} {why}" for why, count in reasons.items() if count)
    return f"{len(encoded):,} pairs {purpose}" + (f"; left out: {left}" if left else "")


# Vaswani et al. (2017, table 3, section 5.3), with betas and the schedule that the paper gives.
_PAPER = TrainingConfig(
    steps=100_000,
    batch_size=512,
    optimizer="adamw",
    learning_rate=(512 * 4000) ** -0.5,
    weight_decay=0.0,
    beta2=0.98,
    clip=0.0,
    schedule="inverse_sqrt",
    warmup_steps=4000,
)
# Muon's rates are the project's own; the checkpoints of the last minutes are there to be averaged.
_TINY = TrainingConfig(
    minutes=30.0,
    batch_size=256,
    learning_rate=5e-3,
    weight_decay=0.05,
    warmup_steps=200,
    save_seconds=60.0,
    keep=5,
)

# First-person sentences that the French preset never sees in training, nor what nearly equals them.
FIRST_PERSON = {
    "Je suis étudiant.": "I am a student.",
    "Je suis fatigué ce soir.": "I am tired tonight.",
    "J'ai deux frères et une sœur.": "I have two brothers and one sister.",
    "Je ne parle pas allemand.": "I do not speak German.",
    "J'aime lire des livres.": "I like to read books.",
    "Je vais à la plage demain.": "I am going to the beach tomorrow.",
    "Je veux apprendre le français.": "I want to learn French.",
    "J'habite dans une petite maison.": "I live in a small house.",
    "Je dois partir maintenant.": "I have to leave now.",
    "Je mange une pomme.": "I am eating an apple.",
}

_SEQ2SEQ = Seq2SeqConfig(source_language="en", target_language="de")

_PAIRS = "multi30k, tatoeba-en-fr, tatoeba-en-de, files of pairs (.tsv, .jsonl, or FILE,FILE)"
_WHAT = f"{_PAIRS}; embedded with --source-language en --target-language digits"


def _preset(about: str, shape: Any, training: TrainingConfig, **rest: Any) -> Preset:
    run = rest.pop("run", train_translator)
    numbers = "digits" in (shape.source_language, shape.target_language)
    what = f"embedded, {_PAIRS}" if numbers else _WHAT
    return Preset(about, shape, training, run, what, not_offered=NOT_OFFERED, **rest)


PRESETS: dict[str, Preset] = {
    "transformer-numbers": _preset(
        "a small Transformer that turns numbers in words into digits",
        TransformerConfig(
            vocab_size=300,
            context_length=64,
            n_encoder_layer=2,
            n_decoder_layer=2,
            n_head=4,
            n_embd=64,
            n_inner=128,
            source_language="en",
            target_language="digits",
        ),
        TrainingConfig(minutes=1.0, batch_size=128, weight_decay=0.0),
        expected="BLEU 99.4 on held-out numbers",
    ),
    "seq2seq-numbers": _preset(
        "a small GRU with additive attention that turns numbers in words into digits",
        Seq2SeqConfig(
            vocab_size=300,
            context_length=64,
            n_embd=64,
            n_hidden=128,
            attention="additive",
            dropout=0.1,
            source_language="en",
            target_language="digits",
        ),
        TrainingConfig(minutes=1.0, batch_size=128, weight_decay=0.0),
        expected="BLEU 100 on held-out numbers",
    ),
    "seq2seq": _preset(
        "GRU encoder and decoder without attention (Sutskever et al., Cho et al. 2014), 384 wide",
        _SEQ2SEQ,
        _TINY,
        expected="26.6 BLEU on Multi30k's test2016 after 10 minutes",
    ),
    "seq2seq-bahdanau": _preset(
        "the same with additive attention (Bahdanau et al. 2015)",
        replace(_SEQ2SEQ, attention="additive"),
        _TINY,
        expected="35.6 BLEU on Multi30k's test2016 after 10 minutes",
    ),
    "seq2seq-luong": _preset(
        "the same with multiplicative attention (Luong et al. 2015)",
        replace(_SEQ2SEQ, attention="general"),
        _TINY,
        expected="38.0 BLEU on Multi30k's test2016 after 10 minutes",
    ),
    "transformer-tiny": _preset(
        "Transformer for Multi30k (Wu et al. 2021): 4 + 4 layers, 128 wide",
        TransformerConfig(
            vocab_size=10_000,
            n_encoder_layer=4,
            n_decoder_layer=4,
            n_head=4,
            n_embd=128,
            n_inner=256,
            dropout=0.3,
            source_language="en",
            target_language="de",
        ),
        _TINY,
        expected="39.7 BLEU on Multi30k's test2016, averaged, after 4,500 steps",
    ),
    "transformer-french": _preset(
        "Transformer for French to English, 256 wide, ten sentences left out of training",
        TransformerConfig(
            vocab_size=10_000,
            n_encoder_layer=3,
            n_decoder_layer=3,
            n_head=4,
            n_embd=256,
            n_inner=1024,
            source_language="fr",
            target_language="en",
        ),
        replace(_TINY, minutes=40.0),
        run=partial(train_translator, left_out=tuple(FIRST_PERSON)),
        expected="50.1 BLEU on Multi30k's test2016, 58.7 on Tatoeba's held-out pairs",
    ),
    "transformer-base": _preset(
        "Transformer base (Vaswani et al. 2017): 6 + 6 layers, 512 wide",
        TransformerConfig(source_language="en", target_language="de"),
        _PAPER,
    ),
    "transformer-big": _preset(
        "Transformer big (Vaswani et al. 2017): 6 + 6 layers, 1024 wide",
        TransformerConfig(
            n_embd=1024,
            n_head=16,
            n_inner=4096,
            dropout=0.3,
            source_language="en",
            target_language="de",
        ),
        replace(_PAPER, steps=300_000, learning_rate=(1024 * 4000) ** -0.5),
    ),
}
