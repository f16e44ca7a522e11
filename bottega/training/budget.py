"""A budget in steps, tokens or minutes, as a number of steps."""

from __future__ import annotations

import math
import time

from bottega.training.config import TrainingConfig

SETTLING = 2  # first steps, slower than the rest: memory is taken, caches are cold
TIMED = 5  # steps at least, before minutes become steps
SHARE = 0.03  # of the budget, spent on timed steps
LATEST = 0.25  # of the budget: then one timed step is enough; no schedule decays that early
VALIDATIONS = 10  # over a run, unless validate_every says otherwise
VALIDATION_SHARE = 0.1  # of what is left of a budget in minutes, at most, for those validations


def steps_of(config: TrainingConfig, tokens_per_step: int) -> int | None:
    """Return the number of steps, or None where it is in minutes and the steps have still to be timed."""
    if config.steps is not None:
        return config.steps
    if config.tokens is not None:
        return math.ceil(config.tokens / tokens_per_step)
    return None


def validate_every(config: TrainingConfig, steps: int) -> int:
    """Return the steps between validations of a run of so many."""
    return config.validate_every or max(1, steps // VALIDATIONS)


class Stopwatch:
    """Turns minutes into steps: times the first steps, sets aside what validations take.

    The budget's clock starts when this is made, so compiling and the first validation count.
    """

    def __init__(self, minutes: float) -> None:
        self.budget = 60 * minutes
        self.began = time.monotonic()
        self.timings: list[float] = []
        self.aside = 0.0  # seconds that one validation, with its sample and checkpoint, takes

    def decide(self, config: TrainingConfig, step: int, seconds: float) -> tuple[int, int] | None:
        """Take the `seconds` of the step that led to `step`; return the steps in all and between validations.

        None while too few have been timed to tell.
        """
        self.timings.append(seconds)
        elapsed = time.monotonic() - self.began
        timed = self.timings[SETTLING:]
        settled = len(timed) >= TIMED and sum(timed) >= SHARE * self.budget
        late = elapsed >= LATEST * self.budget and timed
        if not (settled or late or elapsed >= self.budget):
            return None
        left, pace = self.budget - elapsed, sum(timed) / max(1, len(timed))
        if config.validate_every is not None:
            steps = left / (pace + self.aside / config.validate_every)
            return step + max(0, int(steps)), config.validate_every
        wanted = VALIDATION_SHARE * left / self.aside if self.aside else VALIDATIONS
        validations = max(1, min(VALIDATIONS, int(wanted)))
        steps = step + max(0, int((left - validations * self.aside) / pace)) if timed else step
        return steps, max(1, math.ceil(steps / validations))
