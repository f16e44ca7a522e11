"""A language model from token shards: the job behind `bottega train` and the quickstart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bottega.data.loader import PackedLoader, validation_batches
from bottega.data.mixture import Mixture
from bottega.data.shards import TokenShards
from bottega.data.stream_loader import StreamLoader
from bottega.errors import InputError
from bottega.models.generation import generate
from bottega.models.gpt import GPT, GPTConfig
from bottega.models.recurrent import RecurrentConfig, RecurrentLM
from bottega.nn.sampling_params import SamplingParams
from bottega.nn.undrawn import undrawn
from bottega.training.config import TrainingConfig
from bottega.training.context import Batch, Batches
from bottega.training.distributed import local_device, world_from_environment
from bottega.training.events import Listener, Notice
from bottega.training.loop import Result, Sample, train
from bottega.training.start import require_memory
from bottega.training.validation import HeldOut

SAMPLE_TOKENS = 64
RECURRENT_WINDOW = 2048  # tokens: validation begins with an empty state, and that should hardly count


def pretrain(
    shape: GPTConfig | RecurrentConfig,
    data: Path | Mapping[Path, float],
    out: Path,
    config: TrainingConfig,
    on_event: Listener | None = None,
) -> Result:
    """Train a language model of this shape on `data/train`, validating on `data/heldout` where there is one.

    `data` is what `bottega data prepare` wrote, or several such folders with their weights in the mixture.
    The vocabulary is that of their tokenizer, which comes along into every checkpoint. A GPT reads shuffled
    windows, a recurrent model streams that go on from step to step. Raises what `train` raises, and
    InputError where the data do not fit together.
    """
    weights = {data: 1.0} if isinstance(data, Path) else dict(data)
    sources = {path: TokenShards.open(path / "train") for path in weights}
    first = next(iter(sources.values()))
    shape = replace(shape, vocab_size=first.vocab_size)
    batches: Batches
    if isinstance(shape, RecurrentConfig):
        shape = replace(shape, streams=config.batch_size)
        batches, window = _streams(sources, shape.context_length, config), RECURRENT_WINDOW
        model: nn.Module = _made(partial(RecurrentLM, shape), config)
    else:
        batches, window = _batches(sources, weights, shape.context_length, config), shape.context_length
        model = _made(partial(GPT, shape), config)
    result = train(
        model,
        batches,
        out,
        config,
        validation=held_out(sources, window, config),
        sample=sampler(first, config.seed),
        tokenizer=first.tokenizer_folder,
        on_event=on_event,
    )
    if isinstance(batches, Mixture) and on_event is not None:
        seen = ", ".join(f"{name} {epochs:.2f}" for name, epochs in batches.epochs.items())
        on_event(Notice(f"epochs of each source: {seen}"))
    return result


def _made(make: Callable[[], nn.Module], config: TrainingConfig) -> nn.Module:
    """The model with its first weights; refused before it is allocated where memory does not hold it."""
    device = local_device()
    with undrawn():
        size = sum(parameter.numel() for parameter in make().parameters())
    # Weights, gradients and two moments in fp32.
    require_memory(16 * size, device)
    torch.manual_seed(config.seed)
    with device:
        return make()


def _streams(
    sources: Mapping[Path, TokenShards], context_length: int, config: TrainingConfig
) -> StreamLoader:
    if len(sources) > 1 or config.fim_rate:
        raise InputError(
            "a recurrent model reads one folder of data in its order; "
            "give one, and no fim_rate, or train a GPT on a mixture"
        )
    (shards,), world = sources.values(), world_from_environment()
    return StreamLoader(
        shards, context_length, config.batch_size, seed=config.seed, rank=world.rank, world_size=world.size
    )


def _batches(
    sources: Mapping[Path, TokenShards],
    weights: Mapping[Path, float],
    context_length: int,
    config: TrainingConfig,
) -> PackedLoader | Mixture:
    world = world_from_environment()
    ranks: dict[str, Any] = {"rank": world.rank, "world_size": world.size, "fim_rate": config.fim_rate}
    if len(sources) == 1:
        (shards,) = sources.values()
        return PackedLoader(shards, context_length, config.batch_size, seed=config.seed, **ranks)
    named = {str(path): shards for path, shards in sources.items()}
    shares = {str(path): weight for path, weight in weights.items()}
    return Mixture(named, shares, context_length, config.batch_size, seed=config.seed, **ranks)


def held_out(
    sources: Mapping[Path, TokenShards], context_length: int, config: TrainingConfig
) -> HeldOut | None:
    """Return the validation on the whole `heldout` of all sources, or None where nothing was held out.

    Raises InputError where one was not made with its source's tokenizer.
    """
    parts = {path: TokenShards.open(path / "heldout") for path in sources if (path / "heldout").is_dir()}
    for path, shards in parts.items():
        if shards.tokenizer_digest != sources[path].tokenizer_digest:
            raise InputError(
                f"{path}: train and heldout were prepared with different tokenizers; prepare both again"
            )
    if not parts:
        return None
    rows = config.micro_batch_size or config.batch_size

    def batches() -> Iterator[Batch]:
        for shards in parts.values():
            yield from validation_batches(shards, context_length, rows)

    return HeldOut(batches, sum(shards.n_bytes for shards in parts.values()))


def sampler(shards: TokenShards, seed: int) -> Sample:
    """Return a function that lets a model begin a document; it draws the same at every call."""
    tokenizer = shards.tokenizer()
    start = shards.end_of_text

    def sample(model: nn.Module, _step: int) -> str:
        assert isinstance(model, GPT | RecurrentLM)
        context = model.config.context_length if isinstance(model, GPT) else SAMPLE_TOKENS + 1
        length = min(SAMPLE_TOKENS, context - 1)
        params = SamplingParams(temperature=0.8, max_tokens=length, seed=seed)
        return tokenizer.decode(generate(model, [[start]], params, start)[0].ids)

    return sample
