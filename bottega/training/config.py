"""What a training run is asked to do. No torch here: the command line reads this for its help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bottega.errors import InputError

# What may change between two starts of one run, because no weight depends on it.
FREE = ("save_every", "save_seconds", "keep")

BUDGETS = ("steps", "tokens", "minutes")


@dataclass(frozen=True)
class TrainingConfig:
    """One run: how long, how large a step, which optimizer and schedule, what is kept.

    Exactly one of `steps`, `tokens` and `minutes` is the budget. Raises InputError where a value makes no
    sense.
    """

    steps: int | None = None
    """Budget in steps."""
    tokens: float | None = None
    """Budget in tokens, rounded up to whole steps."""
    minutes: float | None = None
    """Budget in minutes: the first steps are timed, then the number of steps is planned and written down."""

    batch_size: int = 32
    """Sequences a step, over all ranks and micro-batches."""
    micro_batch_size: int | None = None
    """Sequences a rank holds in memory at a time; None: all of its share."""

    optimizer: Literal["muon", "adamw", "sgd"] = "muon"
    """muon: Muon for the matrices that the model names, AdamW for all else; adamw: AdamW for all; sgd: plain
    descent with the momentum beta1."""
    learning_rate: float = 3e-3
    """Peak rate of AdamW, or of SGD."""
    matrix_learning_rate: float = 0.02
    """Peak rate of Muon."""
    weight_decay: float = 0.1
    """Decoupled decay of matrices; vectors (norms, biases) never decay."""
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0
    """Largest norm of the gradient; 0: not clipped."""
    ema: float = 0.0
    """Decay of a moving average of the weights, which is then what is validated and saved; 0: none."""

    schedule: Literal["wsd", "cosine", "inverse_sqrt", "constant"] = "wsd"
    """wsd: warmup, stable, linear decay to zero (Hu et al. 2024); cosine: to a tenth (Brown et al. 2020);
    inverse_sqrt: warmup, then falling as 1/√step (Vaswani et al. 2017)."""
    warmup_steps: int = 20
    decay_fraction: float = 0.4
    """Share of the steps in which wsd decays."""

    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bf16: working copies in bf16, masters and optimizer in fp32; auto: whichever multiplies faster here."""
    compile: Literal["auto", "on", "off"] = "auto"
    """auto: compiled where a compiler works and the run is long enough to earn it back."""
    seed: int = 0
    fim_rate: float = 0.0
    """Share of the windows of text rearranged so that the model learns to fill in the middle."""

    validate_every: int | None = None
    """Steps between validations (with a sample); None: ten over the run."""
    save_every: int | None = None
    """Steps between checkpoints; None: by the clock alone."""
    save_seconds: float = 300.0
    """Seconds between checkpoints."""
    keep: int = 2
    """How many of the last checkpoints stay, beside the best."""

    def __post_init__(self) -> None:
        budgets = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(budgets) != 1:
            given = " and ".join(budgets) or "none"
            raise InputError(f"a run needs exactly one of steps, tokens and minutes; given: {given}")
        positive = (*budgets, "batch_size", "micro_batch_size", "learning_rate", "matrix_learning_rate")
        for name in (*positive, "validate_every", "save_every", "save_seconds", "keep"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be above 0, not {value}")
        for name in ("weight_decay", "clip", "warmup_steps", "seed"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must be 0 or more, not {getattr(self, name)}")
        for name in ("beta1", "beta2", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}")
        for name in ("decay_fraction", "fim_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be from 0 to 1, not {getattr(self, name)}")


def differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Say where two configurations differ: `name: old, now new` for each field that weights depend on."""
    names = [name for name in {**old, **new} if name not in FREE]
    return [
        f"{name}: {old.get(name)}, now {new.get(name)}" for name in names if old.get(name) != new.get(name)
    ]
