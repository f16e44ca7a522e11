"""Calls in an answer's text, as they come: `<tool_call>` lines with a name and arguments."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bottega.text.chat_template import CALL_BEGINS, CALL_ENDS
from bottega.text.stopping import overlap

_HEAD = re.compile(r'\{"name": "([^"]*)", "arguments": ')
_END = "}" + CALL_ENDS


@dataclass(frozen=True)
class Delta:
    """The next piece of an answer: of its content, or of call number `call`, which `name` begins."""

    text: str
    call: int | None = None
    name: str | None = None


class CallParser:
    """Tells an answer's content from its calls, which are written as the grammar of `grammars` has them."""

    def __init__(self) -> None:
        self.n_calls = 0
        self._held, self._state = "", "content"

    def push(self, text: str, last: bool = False) -> list[Delta]:
        """Take the next text; give what can be told of it. With `last` nothing more comes."""
        self._held += text
        deltas: list[Delta] = []
        while True:
            before = (self._state, len(self._held))
            deltas += self._next(last)
            if (self._state, len(self._held)) == before:
                return [delta for delta in deltas if delta.text or delta.name is not None]

    def _next(self, last: bool) -> list[Delta]:
        if self._state == "head":
            head = _HEAD.match(self._held)
            if head is None:
                return []  # a call that was cut off before its name is none
            self._held, self._state = self._held[head.end() :], "arguments"
            self.n_calls += 1
            return [Delta("", self.n_calls - 1, head[1])]
        if self._state == "arguments":
            return [Delta(self._until(_END, "content", last), self.n_calls - 1)]
        if self.n_calls:  # between calls is a line's end
            self._held = self._held.lstrip("\n")
        return [Delta(self._until(CALL_BEGINS, "head", last))]

    def _until(self, mark: str, then: str, last: bool) -> str:
        """What stands before a mark; where it has not come, what cannot be its beginning."""
        text, found, rest = self._held.partition(mark)
        if found:
            self._held, self._state = rest, then
            return text
        cut = len(self._held) - (0 if last else overlap(self._held, mark))
        text, self._held = self._held[:cut], self._held[cut:]
        return text
