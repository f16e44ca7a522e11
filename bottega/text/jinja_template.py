"""A chat template in Jinja, rendered so that what it says and what people said stay apart.

Every string that a person wrote goes into the template as a random placeholder, and the rendered text is cut
at the placeholders. Templates are written by whoever published the model, so they run in Jinja's sandbox with
the names that `transformers` gives them, and in a process of their own (`bottega.text.template_process`).
"""

from __future__ import annotations

import codecs
import json
import random
import re
import string
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from types import CodeType
from typing import Any

from bottega.errors import InputError

Parts = list[tuple[str, bool]]  # texts in order; True: the template's own words, False: what people said

_LETTERS = string.ascii_lowercase
_LIMIT = 4_000_000  # characters of a rendered conversation


def render(source: str, variables: Mapping[str, Any], data: Mapping[str, Any]) -> Parts:
    """Render a template over trusted `variables` and over `data`, all of whose strings people wrote.

    In `data["messages"]` the roles alone are trusted. Raises InputError where the template cannot be
    compiled, refuses the conversation, has no place for a part of it, or changes contents in a way that
    cannot be followed: cutting (trim, split, slices) can be, anything else not.
    """
    nonce = "".join(random.SystemRandom().choices(string.ascii_letters, k=20)) + "aA"
    now = datetime.now()
    # A placeholder that was changed leaves letters of its own, and those differ where all letters differ.
    table, other = _Table(nonce, _LETTERS), _Table(*(codecs.encode(s, "rot13") for s in (nonce, _LETTERS)))
    first, second = (_render(source, variables, data, one, now) for one in (table, other))
    if first != second:
        raise InputError(
            "the chat template changes contents other than by cutting them, so it cannot be used"
        )
    missing = sorted(table.needed - table.used)
    if missing:
        raise InputError(f"the chat template has no place for {missing[0]}")
    return first


def _render(
    source: str, variables: Mapping[str, Any], data: Mapping[str, Any], table: _Table, now: datetime
) -> Parts:
    import jinja2

    try:
        environment = _environment(table, now)
        template = jinja2.Template.from_code(environment, _compile(source), environment.make_globals(None))
        text = template.render(
            **variables, **{name: table.guard(value, name) for name, value in data.items()}
        )
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"the chat template is damaged: {error.message}, line {error.lineno}") from None
    except jinja2.TemplateError as error:
        raise InputError(f"the chat template refuses the conversation: {table.reveal(str(error))}") from None
    except (MemoryError, RecursionError):
        raise InputError("the chat template grows beyond all bounds") from None
    except Exception as error:  # whatever its expressions raise
        raise InputError(f"the chat template fails: {table.reveal(str(error))}") from None
    parts = table.split(text)
    if sum(len(part) for part, _ in parts) > _LIMIT:
        raise InputError(f"the chat template gives more than {_LIMIT} characters")
    return parts


class _Table:
    """The placeholders of one rendering, and what they stand for."""

    def __init__(self, nonce: str, letters: str) -> None:
        self._nonce, self._letters = nonce, letters
        self._held: list[tuple[str, frozenset[str]]] = []
        self._pattern = re.compile(f"({nonce}[a-z]{{6}})")
        self.needed: set[str] = set()  # what must not be left out
        self.used: set[str] = set()

    def hold(self, text: str, origins: frozenset[str]) -> _Content | str:
        """A placeholder for a text. An empty one can do no harm."""
        if not text:
            return ""
        number, letters = len(self._held), ""
        for _ in range(6):
            number, digit = divmod(number, 26)
            letters += self._letters[digit]
        self._held.append((text, origins))
        return _Content(self._nonce + letters, text, origins, self)

    def guard(self, value: Any, place: str) -> Any:
        """The same value with a placeholder for every string but the roles of the conversation."""
        if isinstance(value, str):
            if re.fullmatch(r"messages\[\d+\]\.role", place):
                return value
            needed = (
                r".*\.(content|name|arguments)(\[\d+\]\.text)?"
                if place.startswith("m")
                else r".*function\.name"
            )
            if value.strip() and re.fullmatch(needed, place):
                self.needed.add(place)
            return self.hold(value, frozenset([place]))
        if isinstance(value, list):
            return [self.guard(one, f"{place}[{i}]") for i, one in enumerate(value)]
        if isinstance(value, dict):
            known = place.startswith("messages[") and "arguments" not in place
            return {
                key if known else self.hold(key, frozenset()): self.guard(one, f"{place}.{key}")
                for key, one in value.items()
            }
        return value

    def reveal(self, text: str) -> str:
        """A text with the contents in their places."""
        return "".join(part for part, _ in self.split(text))

    def split(self, text: str) -> Parts:
        """A rendered text cut at the placeholders; neighbours of one kind are joined."""
        parts: Parts = []
        for i, part in enumerate(self._pattern.split(text)):
            if i % 2:
                number = sum(26**k * self._letters.index(letter) for k, letter in enumerate(part[-6:]))
                if number >= len(self._held):
                    continue
                part, origins = self._held[number]
                self.used |= origins
            if part:
                parts.append((part, i % 2 == 0))
        return parts


class _Content(str):
    """A placeholder that answers questions, and may be cut, as the text that it stands for."""

    text: str
    origins: frozenset[str]
    _table: _Table

    def __new__(cls, placeholder: str, text: str, origins: frozenset[str], table: _Table) -> _Content:
        self = super().__new__(cls, placeholder)
        self.text, self.origins, self._table = text, origins, table
        return self

    def _hold(self, text: str) -> str:
        return self if text == self.text else self._table.hold(text, self.origins)

    def strip(self, chars: str | None = None) -> str:
        return self._hold(self.text.strip(_plain(chars)))

    def lstrip(self, chars: str | None = None) -> str:
        return self._hold(self.text.lstrip(_plain(chars)))

    def rstrip(self, chars: str | None = None) -> str:
        return self._hold(self.text.rstrip(_plain(chars)))

    def split(self, sep: str | None = None, maxsplit: Any = -1) -> list[str]:
        return [self._hold(part) for part in self.text.split(_plain(sep), maxsplit)]

    def rsplit(self, sep: str | None = None, maxsplit: Any = -1) -> list[str]:
        return [self._hold(part) for part in self.text.rsplit(_plain(sep), maxsplit)]

    def startswith(self, *given: Any) -> bool:
        return self.text.startswith(*given)

    def endswith(self, *given: Any) -> bool:
        return self.text.endswith(*given)

    def __getitem__(self, at: Any) -> str:
        return self._hold(self.text[at])

    def __contains__(self, part: object) -> bool:
        return isinstance(part, str) and str(_plain(part)) in self.text

    def __eq__(self, other: object) -> bool:
        return self.text == (other.text if isinstance(other, _Content) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.text)

    def __len__(self) -> int:
        return len(self.text)


def _plain(text: str | None) -> str | None:
    return text.text if isinstance(text, _Content) else text


@lru_cache(maxsize=8)
def _compile(source: str) -> CodeType:
    return _environment(_Table("", _LETTERS), datetime.now()).compile(source)


def _environment(table: _Table, now: datetime) -> Any:
    """The sandbox, with what `transformers` offers to templates."""
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what is trained on, which says nothing here."""

        tags = {"generation"}  # noqa: RUF012  # Jinja's own declaration

        def parse(self, parser: Any) -> Any:
            lineno = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=lineno)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        origins: set[str] = set()
        plain = _collect(value, table, origins)
        text = json.dumps(
            plain, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )
        return table.hold(text, frozenset(origins))

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {"raise_exception": refuse, "strftime_now": now.strftime}
    return environment


def _collect(value: Any, table: _Table, origins: set[str]) -> Any:
    """A value with its contents in place, for JSON; gathers where they came from."""
    if isinstance(value, _Content):
        origins |= value.origins
        return value.text
    if isinstance(value, str):
        return table.reveal(value)
    if isinstance(value, list | tuple):
        return [_collect(one, table, origins) for one in value]
    if isinstance(value, Mapping):
        return {_collect(k, table, origins): _collect(v, table, origins) for k, v in value.items()}
    return value
