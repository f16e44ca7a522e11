"""A budget in steps, tokens or minutes, as a number of steps."""

from __future__ import annotations

import math
import time

from bottega.training.config import TrainingConfig

SETTLING = 2  # first steps, slower than the rest: memory is taken, caches are cold
TIMED = 5  # steps at least, before minutes become steps
SHARE = 0.03  # of the budget, spent on timed steps
LATEST = 0.25  # of the budget: then one timed step is enough; no schedule decays that early
CHANGED = 0.05  # of the steps: plans nearer to each other than that are the same
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
    """Turns minutes into steps: times the steps, sets aside what validations take.

    The budget's clock starts when this is made, so compiling and the first validation count.
    """

    def __init__(self, minutes: float) -> None:
        self.budget = 60 * minutes
        self.began = time.monotonic()
        self.steps, self.seconds = -SETTLING, 0.0  # timed since the last plan
        self.aside = 0.0  # seconds that one validation, with its sample and checkpoint, takes

    def time(self, seconds: float) -> None:
        """Take the seconds of a step."""
        self.steps += 1
        self.seconds += seconds if self.steps > 0 else 0.0

    def plan(self, config: TrainingConfig, step: int) -> tuple[int, int] | None:
        """Return the steps in all and between validations, after `step` of them.

        None while too few have been timed to tell.
        """
        elapsed = time.monotonic() - self.began
        settled = self.steps >= TIMED and self.seconds >= SHARE * self.budget
        late = elapsed >= LATEST * self.budget and self.steps > 0
        if not (settled or late or elapsed >= self.budget):
            return None
        left, pace = self.budget - elapsed, self._pace_since()
        if config.validate_every is not None:
            steps = left / (pace + self.aside / config.validate_every)
            return step + max(0, int(steps)), config.validate_every
        wanted = VALIDATION_SHARE * left / self.aside if self.aside else VALIDATIONS
        validations = max(1, min(VALIDATIONS, int(wanted)))
        steps = step + max(0, int((left - validations * self.aside) / pace))
        return steps, max(1, math.ceil(steps / validations))

    def plan_again(self, step: int, steps: int, validate_every: int) -> int:
        """Return the steps in all after `step` of the `steps` planned, by the pace since the last plan.

        The plan stands where the pace is as it was. What is left of it is at least halved: a decay cut
        shorter than that costs more than the minutes are worth.
        """
        if self.steps <= 0:
            return steps
        left = self.budget - (time.monotonic() - self.began)
        fitting = int(left / (self._pace_since() + self.aside / validate_every))
        again = step + max(fitting, (steps - step) // 2)
        return again if abs(again - steps) > CHANGED * steps else steps

    def _pace_since(self) -> float:
        """Return the seconds a step since the last plan (infinite if none was timed), and time anew."""
        pace = self.seconds / self.steps if self.steps > 0 else math.inf
        self.steps, self.seconds = 0, 0.0
        return pace
