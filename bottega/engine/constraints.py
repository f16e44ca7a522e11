"""Output that is a sentence of a grammar, and a whole one within its budget of tokens.

The grammar itself is llguidance's work: which tokens may come next. Here is what it leaves open: a text that
is cut off at its last token parses no more. So a way out is known at all times, the tokens that would end the
sentence, and when the budget comes near its length, only tokens after which it is still open are allowed.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bottega.errors import InputError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

    from bottega.text.tokenizer import Tokenizer

LONGEST = 1 << 20  # bytes of a grammar
KEPT = 64  # compiled grammars
KEPT_LENGTH = 1 << 20  # characters of theirs together: compiled, a long one takes a hundred times its length
SLACK = 16  # tokens: within so many of the way out's length each token is checked against it
HORIZON = 256  # tokens left below which a way out is looked for
EFFORT = 400  # states that a search may visit
FEW = 24  # bytes: where so many may follow, a search tries each, else those of TURNS
LATE = b"abcdefghijklmnopqrstuvwxyz0123456789"  # with TURNS, what may be said when the end is near
TURNS = b"\"}])>'0:,{[(< -.1Aatfn\n"


def check_grammar(grammar: str, tokenizer: Tokenizer) -> None:
    """Raise InputError, with the reason, where a grammar in llguidance's format cannot be followed."""
    from llguidance import LLMatcher

    if len(grammar) > LONGEST:
        raise InputError(f"the grammar is {len(grammar):,} characters long; the most is {LONGEST:,}")
    known = _ll_tokenizer(tokenizer.to_json(), tokenizer.vocab_size, tokenizer.end_of_text)
    fault, messages = LLMatcher.validate_grammar_with_warnings(grammar, known, limits=_limits())
    if fault:
        raise InputError(f"the grammar cannot be followed: {_line(messages[0])}")


class Grammars:
    """Makes constraints for one vocabulary; the grammars used last stay compiled.

    `tokenizer_json` is the contents of tokenizer.json, `vocab_size` that of the model.
    """

    def __init__(self, tokenizer_json: str, vocab_size: int, end_of_text: int) -> None:
        self._tokenizer = _ll_tokenizer(tokenizer_json, vocab_size, end_of_text)
        self._end_of_text = end_of_text
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        tokens = [self._tokenizer.decode_bytes([id]) for id in range(vocab_size)]
        plain = [id for id in range(vocab_size) if not self._tokenizer.is_special_token(id)]
        self._bytes = {tokens[id][0]: id for id in reversed(plain) if len(tokens[id]) == 1}

    @property
    def compiled(self) -> list[str]:
        """The grammars that are kept, the one used last at the end."""
        return [*self._compiled]

    def constraint(self, grammar: str) -> Constraint:
        """A constraint at the beginning of its sentence. Raises InputError where the grammar is wrong."""
        from llguidance import LLMatcher

        if len(grammar) > LONGEST:
            raise InputError(f"the grammar is {len(grammar):,} characters long; the most is {LONGEST:,}")
        if grammar not in self._compiled:
            matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=_limits())
            if matcher.is_error():
                raise InputError(f"the grammar cannot be followed: {_line(matcher.get_error())}")
            self._compiled[grammar] = matcher
            while len(self._compiled) > KEPT or sum(map(len, self._compiled)) > KEPT_LENGTH:
                self._compiled.popitem(last=False)  # never the new one, which is not longer than LONGEST
        self._compiled.move_to_end(grammar)
        return Constraint(self._compiled[grammar].deep_copy(), self._end_of_text, self._bytes)


class Constraint:
    """Where one output stands in its grammar. `single` maps a byte to the token that is it alone."""

    def __init__(self, matcher: LLMatcher, end_of_text: int, single: dict[int, int]) -> None:
        self._matcher, self._end_of_text = matcher, end_of_text
        self._turns = [single[byte] for byte in TURNS if byte in single]
        self._singles = list(single.values())
        self._late = [single[byte] for byte in sorted({*TURNS, *LATE}) if byte in single]
        self._way_out = self._find_way_out(matcher)
        self._slack = max(SLACK, len(self._way_out or ()))  # what one token opens is seldom longer than all

    @property
    def finished(self) -> bool:
        """Whether only its end may follow: the sentence is whole."""
        return bool(self._matcher.is_stopped()) and not self.fault

    @property
    def fault(self) -> str:
        """Why the sentence cannot go on, where it does not: it is beyond the limits of the library."""
        if not self._matcher.is_error():
            return ""
        return f"the grammar cannot be followed any further: {_line(self._matcher.get_error())}"

    @property
    def whole(self) -> bool:
        """Whether the text so far is a sentence of the grammar."""
        return _accepts(self._matcher)

    def allowed(self, remaining: int) -> NDArray[np.bool_]:
        """Which tokens may come next, (vocabulary,), where `remaining` are left, the next one among them.

        The end of the text, which takes none of them, is allowed where the text is a whole sentence. So that
        the last token completes one, where there is a way to and from `HORIZON` on; nothing is known of a
        grammar in which it is long to find.
        """
        mask = _mask(self._matcher)
        if remaining > max(HORIZON, 2 * self._slack):
            return mask
        if self._way_out is None:
            self._way_out = self._find_way_out(self._matcher)
        way = self._way_out
        if way is None or not len(way) <= remaining <= len(way) + self._slack:
            return mask
        narrow = np.zeros_like(mask)
        narrow[self._end_of_text] = mask[self._end_of_text]
        narrow[way[:1]] = True
        if len(way) < remaining:
            narrow[[id for id in self._late if mask[id] and self._leads_out([id, *way])]] = True
            open_ = np.flatnonzero(mask & ~narrow)
            if len(open_) <= FEW:  # a choice among a few words must not fall to the shortest of them
                narrow[[id for id in open_.tolist() if self._leaves_room(id, remaining - 1)]] = True
        return narrow

    def advance(self, token: int) -> None:
        """Take the token that was drawn; for one that is not allowed there is a fault from then on."""
        if not self._matcher.consume_token(token):
            return
        way = self._way_out
        if way and way[0] == token:
            self._way_out = way[1:]
        elif way is not None and not self._leads_out(way):
            self._way_out = None  # looked for again when it is needed, from what is known
            self._last = way

    _last: Sequence[int] = ()  # the way out before the last token that closed it

    def _leads_out(self, tokens: Sequence[int]) -> bool:
        return _leads_out(self._matcher, tokens)

    def _leaves_room(self, token: int, remaining: int) -> bool:
        """Whether after a token there is some way out that is short enough."""
        copy = self._matcher.deep_copy()
        if not copy.consume_token(token):
            return False
        way = self._find_way_out(copy)
        return way is not None and len(way) <= remaining

    def _find_way_out(self, matcher: LLMatcher) -> list[int] | None:
        """Few tokens, if not always the fewest, that complete the sentence.

        The search takes the cheapest beginning first and follows forced tokens at once; it ends where a
        sentence is whole or the last way out is met again.
        """
        order = itertools.count()
        heap: list[tuple[int, int, LLMatcher, list[int]]] = [(0, next(order), matcher.deep_copy(), [])]
        seen: set[tuple[int, bytes]] = set()
        for _ in range(EFFORT):
            if not heap:
                return None
            cost, _, matcher, path = heapq.heappop(heap)
            for start in range(len(self._last), -1, -1):
                if _leads_out(matcher, self._last[start:]):
                    return [*path, *self._last[start:]]
            forced = matcher.compute_ff_tokens()
            if forced and matcher.consume_tokens(forced):
                heapq.heappush(heap, (cost + len(forced), next(order), matcher, [*path, *forced]))
                continue
            bits = matcher.compute_logit_bias()
            if (cost, bits) in seen:  # at one cost what allows the same tokens is taken for the same state
                continue
            seen.add((cost, bits))
            for id in self._candidates(bits):
                copy = matcher.deep_copy()
                if copy.consume_token(id):
                    heapq.heappush(heap, (cost + 1, next(order), copy, [*path, id]))
        return None

    def _candidates(self, bits: bytes) -> list[int]:
        singles = [id for id in self._singles if bits[id]]
        turns = [id for id in self._turns if bits[id]]
        return singles if len(singles) <= FEW or not turns else turns


def _leads_out(matcher: LLMatcher, tokens: Sequence[int]) -> bool:
    """Whether a sentence is whole after these tokens."""
    if not tokens:
        return _accepts(matcher)
    if matcher.validate_tokens(list(tokens)) < len(tokens):
        return False
    copy = matcher.deep_copy()
    return all(map(copy.consume_token, tokens)) and _accepts(copy)


def _accepts(matcher: LLMatcher) -> bool:
    return bool(matcher.is_accepting()) and not matcher.is_error()


def _mask(matcher: LLMatcher) -> NDArray[np.bool_]:
    return np.frombuffer(matcher.compute_logit_bias(), np.uint8) != 0


@lru_cache(maxsize=8)
def _ll_tokenizer(tokenizer_json: str, vocab_size: int, end_of_text: int) -> LLTokenizer:
    from llguidance import LLTokenizer

    try:
        return LLTokenizer(tokenizer_json, n_vocab=vocab_size, eos_token=end_of_text)
    except Exception as error:  # the library raises nothing narrower
        raise InputError(f"grammars do not work with this tokenizer: {_line(str(error))}") from None


def _limits() -> LLParserLimits:
    """Far above what sensible grammars need; what goes beyond is refused within a second."""
    from llguidance import LLParserLimits

    # A very ambiguous grammar has many items in a row, and while one step reads them nobody else is served.
    return LLParserLimits(
        max_items_in_row=500, max_lexer_states=50_000, max_grammar_size=200_000, verbose_errors=False
    )


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
