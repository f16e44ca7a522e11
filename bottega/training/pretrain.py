"""A GPT from token shards: the job behind `bottega train` and the quickstart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from bottega.data.loader import PackedLoader, validation_batches
from bottega.data.shards import TokenShards
from bottega.errors import InputError
from bottega.models.generation import generate
from bottega.models.gpt import GPT, GPTConfig
from bottega.nn.sampling import SamplingParams
from bottega.training.config import TrainingConfig
from bottega.training.distributed import local_device, world_from_environment
from bottega.training.events import Listener
from bottega.training.loop import Result, train
from bottega.training.validation import HeldOut

SAMPLE_TOKENS = 64


def pretrain(
    shape: GPTConfig, data: Path, out: Path, config: TrainingConfig, on_event: Listener | None = None
) -> Result:
    """Train a GPT of this shape on `data/train`, validating on `data/heldout` where there is one.

    `data` is what `bottega data prepare` wrote; the vocabulary is that of its tokenizer, which comes along
    into every checkpoint. Raises what `train` raises, and InputError where the data do not fit together.
    """
    shards = TokenShards.open(data / "train")
    world, device = world_from_environment(), local_device()
    loader = PackedLoader(
        shards,
        shape.context_length,
        config.batch_size,
        seed=config.seed,
        rank=world.rank,
        world_size=world.size,
    )
    torch.manual_seed(config.seed)
    with device:
        model = GPT(replace(shape, vocab_size=shards.vocab_size))
    return train(
        model,
        loader,
        out,
        config,
        validation=held_out(data, shape.context_length, config, shards.vocab_size),
        sample=sampler(shards, config.seed),
        tokenizer=shards.tokenizer_folder,
        on_event=on_event,
    )


def held_out(data: Path, context_length: int, config: TrainingConfig, vocab_size: int) -> HeldOut | None:
    """Return the validation on the whole of `data/heldout`, or None where nothing was held out."""
    if not (data / "heldout").is_dir():
        return None
    shards = TokenShards.open(data / "heldout")
    if shards.vocab_size != vocab_size:
        raise InputError(
            f"{data}: train and heldout were prepared with different tokenizers; prepare both again"
        )
    rows = config.micro_batch_size or config.batch_size
    return HeldOut(lambda: validation_batches(shards, context_length, rows), shards.n_bytes)


def sampler(shards: TokenShards, seed: int) -> Callable[[nn.Module], str]:
    """Return a function that lets a GPT begin a document; it draws the same at every call."""
    tokenizer = shards.tokenizer()
    start = shards.end_of_text

    def sample(model: nn.Module) -> str:
        assert isinstance(model, GPT)
        length = min(SAMPLE_TOKENS, model.config.context_length - 1)
        params = SamplingParams(temperature=0.8, max_tokens=length, seed=seed)
        return tokenizer.decode(generate(model, [[start]], params, start)[0].ids)

    return sample
