"""The GPT family: shapes as plain instances of `GPTConfig`, named after the family and the published size.

docs/gpt.md lists them with their exact parameter counts, and says where a paper leaves a choice open or
contradicts itself. Training replaces `vocab_size` by that of the tokenizer: the prepared data's, or one
that is learnt from the documents, of at most so many tokens.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from bottega.errors import InputError
from bottega.models.gpt import GPT, GPTConfig
from bottega.nn.undrawn import undrawn
from bottega.recipes.preset import Preset
from bottega.recipes.text_shards import DATA, shards_of
from bottega.training.config import TrainingConfig
from bottega.training.distributed import world_from_environment
from bottega.training.events import Listener
from bottega.training.loop import Result
from bottega.training.pretrain import pretrain

# Brown et al. (2020) do not publish the width of the local band; one eighth of the context is our choice.
GPT3_BAND = 256


def _gpt2(n_layer: int, n_embd: int, n_head: int) -> GPTConfig:
    """Radford et al. (2019, table 2), by the sizes of the published weights: heads of 64, 1024 tokens."""
    return GPTConfig(50257, 1024, n_layer, n_head, n_embd)


def _gpt3(n_layer: int, n_embd: int, n_head: int) -> GPTConfig:
    """Brown et al. (2020, table 2.1): GPT-2 with 2048 tokens, every second layer locally banded."""
    return GPTConfig(50257, 2048, n_layer, n_head, n_embd, band=GPT3_BAND)


def _modern(
    n_layer: int,
    n_embd: int,
    n_head: int,
    n_kv_head: int,
    head_dim: int,
    n_inner: int,
    *,
    vocab_size: int,
    context_length: int,
    tied: bool = True,
) -> GPTConfig:
    """Exactly the Qwen3 architecture (Yang et al. 2025, section 2)."""
    return GPTConfig(
        vocab_size,
        context_length,
        n_layer,
        n_head,
        n_embd,
        n_kv_head,
        head_dim,
        n_inner,
        norm="rmsnorm",
        norm_eps=1e-6,
        positions="rotary",
        rope_theta=1e6,
        mlp="swiglu",
        qk_norm=True,
        attention_bias=False,
        mlp_bias=False,
        tied=tied,
    )


SHAPES: dict[str, GPTConfig] = {
    # Radford et al. (2018, section 4.1): post-norm, 40,000 merges and 478 single symbols, dropout 0.1.
    "gpt1": GPTConfig(40478, 512, 12, 12, 768, norm_position="post", dropout=0.1),
    "gpt2-124m": _gpt2(12, 768, 12),
    "gpt2-355m": _gpt2(24, 1024, 16),
    "gpt2-774m": _gpt2(36, 1280, 20),
    "gpt2-1.5b": _gpt2(48, 1600, 25),
    "gpt3-125m": _gpt3(12, 768, 12),
    "gpt3-350m": _gpt3(24, 1024, 16),
    "gpt3-760m": _gpt3(24, 1536, 16),
    # The table gives 24 heads of 128, which is 3072 and not the width 2048; 16 heads of 128 fit it.
    "gpt3-1.3b": _gpt3(24, 2048, 16),
    "gpt3-2.7b": _gpt3(32, 2560, 32),
    "gpt3-6.7b": _gpt3(32, 4096, 32),
    # The table gives width 5140, which 40 heads of 128 do not fill; 5120 gives the count of its table D.1.
    "gpt3-13b": _gpt3(40, 5120, 40),
    "gpt3-175b": _gpt3(96, 12288, 96),
    # Below 0.6b the shapes and vocabularies are ours; from there on they are those that Qwen3 published.
    "modern-1m": _modern(4, 128, 4, 2, 32, 384, vocab_size=2048, context_length=512),
    "modern-3m": _modern(5, 192, 6, 3, 32, 576, vocab_size=4096, context_length=512),
    "modern-5m": _modern(4, 256, 4, 2, 64, 768, vocab_size=8192, context_length=512),
    "modern-15m": _modern(7, 384, 6, 3, 64, 1152, vocab_size=8192, context_length=1024),
    "modern-50m": _modern(12, 512, 8, 4, 64, 1536, vocab_size=24576, context_length=1024),
    "modern-125m": _modern(12, 768, 12, 6, 64, 2304, vocab_size=50304, context_length=2048),
    "modern-0.6b": _modern(28, 1024, 16, 8, 128, 3072, vocab_size=151936, context_length=40960),
    "modern-1.7b": _modern(28, 2048, 16, 8, 128, 6144, vocab_size=151936, context_length=40960),
    "modern-4b": _modern(36, 2560, 32, 8, 128, 9728, vocab_size=151936, context_length=40960),
    "modern-8b": _modern(36, 4096, 32, 8, 128, 12288, vocab_size=151936, context_length=40960, tied=False),
}

# OpenAI never published the sizes behind its API's names; these are third-party estimates.
ALIASES = {"ada": "gpt3-350m", "babbage": "gpt3-1.3b", "curie": "gpt3-6.7b", "davinci": "gpt3-175b"}


def gpt_shape(name: str) -> GPTConfig:
    """Return the configuration of a GPT or an alias; raises InputError naming the closest ones."""
    key = ALIASES.get(name.lower(), name.lower())
    if key in SHAPES:
        return SHAPES[key]
    raise unknown(name, [*SHAPES, *ALIASES])


def unknown(name: str, known: Sequence[str]) -> InputError:
    """Return the error for a name that no preset has."""
    close = difflib.get_close_matches(name.lower(), known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"
    return InputError(f"there is no preset {name!r}; {hint}")


def count_parameters(config: GPTConfig) -> int:
    """Count the parameters of a GPT of this shape, a tied matrix once, without allocating any."""
    with undrawn():
        return GPT(config).n_parameters()


def train(
    shape: GPTConfig, data: tuple[str, ...], out: Path, training: TrainingConfig, on_event: Listener | None
) -> str:
    """Pre-train a GPT of this shape on prepared shards or on documents; return what the run came to."""
    folders = shards_of(data, out, shape.vocab_size, on_event)
    return summary(pretrain(shape, folders, out, training, on_event))


def summary(result: Result) -> str:
    """One line about a run, on the rank that speaks."""
    if not world_from_environment().writes:
        return ""
    values = "".join(
        f", held-out {name.replace('_', ' ')} {value:.4f}" for name, value in result.validation.items()
    )
    return f"{result.checkpoint}: {result.step:,} steps, {result.tokens:,} tokens{values}"


def _about(config: GPTConfig) -> str:
    layers = f"{config.n_layer} layers of {config.n_embd}, {config.n_head} heads"
    return f"GPT: {layers}, context {config.context_length:,}"


PRESETS = {
    name: Preset(
        about=_about(config),
        shape=config,
        training=TrainingConfig,
        run=train,
        data=f"{DATA}; several such, each as FOLDER=WEIGHT, are mixed by weight",
        not_offered=("vocab_size", "rope_scaling"),  # the data's; a table is nothing for a command line
    )
    for name, config in SHAPES.items()
}
