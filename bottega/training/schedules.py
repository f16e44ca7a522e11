"""The learning rate over the run, as a multiple of its peak."""

from __future__ import annotations

import math

from bottega.training.config import TrainingConfig

COSINE_FLOOR = 0.1  # Brown et al. (2020, appendix B): cosine decay down to 10 % of the peak


def depends_from(config: TrainingConfig, steps: int) -> int:
    """Return the step from which the rate depends on how many steps there are: until then they may change."""
    if config.schedule == "wsd":
        return steps - _decay(config, steps)
    return 0 if config.schedule == "cosine" else steps


def multiplier(config: TrainingConfig, step: int, steps: int | None) -> float:
    """Return the multiple of the peak rate for the update after `step` updates, of `steps` in all.

    While a budget in minutes has not yet been turned into steps (`steps` is None) the rate warms up and
    stays.

    - wsd: warmup, stable, linear to zero over the last `decay_fraction` (Hu et al. 2024, section 4.2; the
      linear decay to zero of Hägele et al. 2024, section 3).
    - cosine: warmup, then half a cosine down to a tenth (Brown et al. 2020, appendix B).
    - inverse_sqrt: warmup, then 1/√step. It is eq. 3 of Vaswani et al. (2017), d^-0.5 · min(step^-0.5, step ·
      warmup^-1.5), over its peak: their rate is this with learning_rate = (d · warmup_steps)^-0.5.
    - constant: warmup, then the peak.
    """
    warm = (step + 1) / config.warmup_steps if step < config.warmup_steps else 1.0
    if config.schedule == "inverse_sqrt":
        return min(warm, (max(1, config.warmup_steps) / (step + 1)) ** 0.5)
    if steps is None or config.schedule == "constant":
        return warm
    if config.schedule == "wsd":
        decay = _decay(config, steps)
        # The last update still moves: zero itself would be reached one step after it.
        return warm if step < steps - decay else min(warm, (steps - step) / (decay + 1))
    progress = max(0, step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return warm * (COSINE_FLOOR + (1 - COSINE_FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def _decay(config: TrainingConfig, steps: int) -> int:
    """Return in how many of the steps wsd decays."""
    return max(1, round(config.decay_fraction * steps)) if config.decay_fraction else 0
