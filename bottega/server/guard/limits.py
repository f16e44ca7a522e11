"""How much a key may ask a minute: token buckets, in the memory of one server process."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from bottega.server.store.keys import Known, Used


@dataclass
class Bucket:
    """Holds up to `size`, fills up within a minute. What is taken beyond its level must flow in again."""

    size: int
    level: float
    at: float  # monotonic seconds at which the level was right

    @classmethod
    def full(cls, size: int) -> Bucket:
        """A bucket for someone new."""
        return cls(size, size, time.monotonic())

    def take(self, amount: float) -> None:
        """Take an amount, even one that is not there."""
        self.fill()
        self.level -= amount

    def fill(self) -> None:
        """Let flow in what the time since the last look brings."""
        now = time.monotonic()
        self.level = min(self.size, self.level + (now - self.at) * self.size / 60)
        self.at = now

    def seconds_until(self, level: float) -> float:
        """How long until it holds that much."""
        return max(0.0, (level - self.level) * 60 / self.size)


class Limits:
    """The buckets of all keys that have limits."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def admit(self, key: Known) -> tuple[float, dict[str, str]]:
        """Count a request in: the seconds to wait if it comes too early, else 0, and what headers to send.

        How many tokens a request costs is known at its end: it is admitted while any are left, and what it
        took beyond them delays the next.
        """
        buckets = self._of(key)
        for bucket in buckets.values():
            bucket.fill()
        wait = max((bucket.seconds_until(1) for bucket in buckets.values()), default=0.0)
        if not wait and "requests" in buckets:
            buckets["requests"].take(1)
        headers = {}
        for what, bucket in buckets.items():
            headers[f"x-ratelimit-limit-{what}"] = str(bucket.size)
            headers[f"x-ratelimit-remaining-{what}"] = str(max(0, math.floor(bucket.level)))
            headers[f"x-ratelimit-reset-{what}"] = _duration(bucket.seconds_until(bucket.size))
        return wait, headers

    def charge(self, key: Known, used: Used) -> None:
        """Count a request's tokens at its end."""
        bucket = self._of(key).get("tokens")
        if bucket:
            bucket.take(used.prompt_tokens + used.completion_tokens)

    def _of(self, key: Known) -> dict[str, Bucket]:
        limits = {"requests": key.requests_per_minute, "tokens": key.tokens_per_minute}
        found = {}
        for what, size in limits.items():
            if size is not None:
                bucket = self._buckets.get((key.id, what))
                if bucket is None or bucket.size != size:
                    bucket = self._buckets[key.id, what] = Bucket.full(size)
                found[what] = bucket
        return found


def _duration(seconds: float) -> str:
    """As OpenAI writes it: 20ms, 7.66s, 6m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:.0f}s" if minutes else f"{rest:.3g}s"
