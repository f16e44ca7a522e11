"""What a request asks of sampling. Without torch: a server reads requests and computes nothing."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bottega.errors import InputError

Number = int | float  # the run-time checks of the tests, unlike mypy, do not take an int for a float


@dataclass(frozen=True)
class SamplingParams:
    """What one request asks of sampling. Raises InputError naming the first field out of its range."""

    temperature: Number = 1.0  # 0 is greedy: the likeliest token, the lower id among equals
    top_k: int = 0  # keep the k likeliest; 0 keeps all
    top_p: Number = 1.0  # keep the smallest set whose mass reaches p (Holtzman et al. 2020, section 3.1)
    min_p: Number = 0.0  # keep those at least min_p times as likely as the likeliest (Nguyen et al. 2024)
    repetition_penalty: Number = 1.0  # over prompt and output (Keskar et al. 2019, section 4.1)
    presence_penalty: Number = 0.0  # subtracted once from the logit of a token that the output holds
    frequency_penalty: Number = 0.0  # subtracted as often as the output holds the token
    logit_bias: Mapping[int, Number] = field(default_factory=dict)  # token id → nats added to its logit
    seed: int | None = None  # None: a fresh one for every request
    max_tokens: int | None = None  # None: as many as fit into the context
    min_tokens: int = 0  # until so many are drawn, the end of the text is not
    ignore_eos: bool = False  # the end of the text is never drawn: for measuring speed at a fixed length
    stop_tokens: tuple[int, ...] = ()  # they end the text too, as the end of a turn does in a chat
    logprobs: int | None = None  # how many alternatives to report with each token; None reports none

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, 0, 2)
        _check("top_k", self.top_k, 0, None, whole=True)
        _check("top_p", self.top_p, 0, 1)
        _check("min_p", self.min_p, 0, 1)
        _check("repetition_penalty", self.repetition_penalty, 0.01, 100)
        _check("presence_penalty", self.presence_penalty, -2, 2)
        _check("frequency_penalty", self.frequency_penalty, -2, 2)
        for token, bias in self.logit_bias.items():
            _check("logit_bias token", token, 0, None, whole=True)
            _check(f"logit_bias of token {token}", bias, -100, 100)
        if self.seed is not None:
            _check("seed", self.seed, -(2**63), 2**63 - 1, whole=True)
        if self.max_tokens is not None:
            _check("max_tokens", self.max_tokens, 0, None, whole=True)
        _check("min_tokens", self.min_tokens, 0, None, whole=True)
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise InputError(
                f"min_tokens ({self.min_tokens}) must not be above max_tokens ({self.max_tokens})"
            )
        if self.logprobs is not None:
            _check("logprobs", self.logprobs, 0, 20, whole=True)

    @property
    def penalises(self) -> bool:
        """Whether the row's own history changes its logits."""
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1.0, 0.0, 0.0)

    def seeded(self) -> SamplingParams:
        """The same with a seed drawn from the system where none was given."""
        return self if self.seed is not None else replace(self, seed=secrets.randbits(63))


def check_fits(prompt: Sequence[int], params: SamplingParams, context_length: int, vocab_size: int) -> None:
    """Raise InputError where a prompt cannot be continued as asked: nothing is cut or slid in silence."""
    if not prompt:
        raise InputError("the prompt holds no token; begin with the end-of-text token")
    for token in (min(prompt), max(prompt), *params.logit_bias, *params.stop_tokens):
        if not 0 <= token < vocab_size:
            raise InputError(f"token {token} is not in the vocabulary; ids run from 0 to {vocab_size - 1}")
    wanted = 1 if params.max_tokens is None else params.max_tokens
    if len(prompt) + wanted > context_length:
        raise InputError(
            f"a prompt of {len(prompt)} tokens and {wanted} more exceed the context of {context_length}; "
            "shorten the prompt or lower max_tokens"
        )


def _check(name: str, value: Number, low: Number, high: Number | None, whole: bool = False) -> None:
    kinds = (int,) if whole else (int, float)
    kind = "a whole number" if whole else "a number"
    expected = f"{kind} of at least {low}" if high is None else f"{kind} from {low} to {high}"
    right_kind = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    if not right_kind or value < low or (high is not None and value > high):
        raise InputError(f"{name} must be {expected}, not {value!r}")
