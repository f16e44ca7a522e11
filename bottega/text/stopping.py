"""Stop strings: text is held back while it may still be the beginning of one."""

from __future__ import annotations

from collections.abc import Sequence

from bottega.errors import InputError


class StopStrings:
    """Cuts a stream of text before the first stop string, which may be spread over any number of pieces.

    `found` is the stop string that ended the text, or None. Raises InputError where a stop string is empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if "" in stops:
            raise InputError(
                "a stop string must not be empty: it would end every text before its first letter"
            )
        self.stops = tuple(stops)
        self.found: str | None = None
        self._held = ""

    def push(self, text: str) -> str:
        """Take the next piece; give what can be shown, which is nothing once a stop string was found."""
        if self.found is not None:
            return ""
        self._held += text
        # The first to be complete wins, so that pieces do not matter; of two that end together, the longer.
        begins = [(self._held.find(stop), stop) for stop in self.stops if stop in self._held]
        if begins:
            _, at, self.found = min((begin + len(stop), begin, stop) for begin, stop in begins)
            shown, self._held = self._held[:at], ""
            return shown
        keep = max((overlap(self._held, stop) for stop in self.stops), default=0)
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def flush(self) -> str:
        """The text has ended: what was held back is no stop string after all."""
        shown, self._held = self._held, ""
        return shown


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop` without being all of it."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)
