"""A budget in steps, tokens or minutes, as a number of steps."""

from __future__ import annotations

import math
import time

from bottega.training.config import TrainingConfig

SETTLING = 2  # first steps, slower than the rest: memory is taken, caches are cold
TIMED = 5  # steps at least, before minutes become steps
SHARE = 0.03  # of the budget, spent on timed steps
LATEST = 0.25  # of the budget: then it is decided with what there is; no schedule decays that early
VALIDATIONS = 10  # over a run, unless validate_every says otherwise


def steps_of(config: TrainingConfig, tokens_per_step: int) -> int | None:
    """Return the number of steps, or None where it is in minutes and the steps have still to be timed."""
    if config.steps is not None:
        return config.steps
    if config.tokens is not None:
        return math.ceil(config.tokens / tokens_per_step)
    return None


def validate_every(config: TrainingConfig, steps: int | None) -> int | None:
    """Return the steps between validations, None while that is not known."""
    if config.validate_every is not None:
        return config.validate_every
    return None if steps is None else max(1, steps // VALIDATIONS)


class Stopwatch:
    """Turns minutes into steps: times the first steps, sets aside what validations take.

    The budget's clock starts when this is made, so compiling and the first validation count.
    """

    def __init__(self, minutes: float) -> None:
        self.budget = 60 * minutes
        self.began = time.monotonic()
        self.timings: list[float] = []
        self.aside = 0.0  # seconds that one validation, with its sample and checkpoint, takes

    def decide(self, config: TrainingConfig, step: int, seconds: float) -> int | None:
        """Take the `seconds` of the step that led to `step`; return how many steps the budget allows in all.

        None while too few have been timed to tell.
        """
        self.timings.append(seconds)
        elapsed = time.monotonic() - self.began
        timed = self.timings[SETTLING:]
        settled = len(timed) >= TIMED and sum(timed) >= SHARE * self.budget
        if not settled and elapsed < LATEST * self.budget:
            return None
        timed = timed or self.timings
        left, pace = self.budget - elapsed, sum(timed) / len(timed)
        if config.validate_every is None:
            left -= VALIDATIONS * self.aside
        else:
            pace += self.aside / config.validate_every
        return step + max(0, int(left / pace))
