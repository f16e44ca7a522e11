"""Structured output: what an answer must be a sentence of, as a grammar for `llguidance`.

JSON is compact: no white space between its parts, which a model could otherwise draw without end.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from bottega.engine.constraints import check_grammar
from bottega.errors import InputError
from bottega.server.errors import ApiError
from bottega.server.sampling_schema import ResponseFormat
from bottega.text.chat_template import CALL_BEGINS, CALL_ENDS
from bottega.text.tokenizer import Tokenizer

_COMPACT = {"whitespace_flexible": False}


@dataclass(frozen=True)
class Function:
    """A function that may be called, and the JSON schema of its arguments."""

    name: str
    parameters: dict[str, Any] | None = None
    strict: bool = False


@dataclass(frozen=True)
class Calls:
    """Which functions an answer may call, whether it must, and whether several times."""

    functions: Sequence[Function]
    required: bool
    parallel: bool = True


def grammar_of(
    wanted: ResponseFormat | None,
    tokenizer: Tokenizer,
    calls: Calls | None = None,
    ends: Collection[int] = (),
) -> str | None:
    """The grammar of an answer, in llguidance's own format; None where it is free.

    `ends` are the tokens besides the end of the text that may end it. Raises ApiError, with the reason, for
    what cannot be a grammar.
    """
    body = _body(wanted)
    if body is None and calls is None:
        return None
    lines = [f"start: ({_alternatives(body is not None, calls)}) end"]
    lines.append("end: " + (f"({' | '.join(f'<[{id}]>' for id in sorted(ends))})?" if ends else '""'))
    if calls is not None:
        lines += _call_rules(calls)
    grammars = [{"name": "answer", "lark_grammar": "\n".join(lines)}]
    if body is not None:
        grammars.append({"name": "body", **body})
    grammar = json.dumps({"grammars": grammars})
    param = "response_format" if calls is None else "tools"
    try:
        check_grammar(grammar, tokenizer)
    except InputError as error:
        schema = calls is not None or (wanted is not None and wanted.json_schema is not None)
        code = "invalid_json_schema" if schema else "invalid_value"
        raise ApiError(f"{param!r}: {error}.", param, code) from None
    return grammar


def _alternatives(formatted: bool, calls: Calls | None) -> str:
    if calls is None:
        return "@body"
    more = ' ("\\n" call)*' if calls.parallel else ""
    if calls.required:
        return f"call{more}"
    # Free text turns into a call where it begins like one: the lazy rule ends as soon as it can.
    return f"@body | call{more}" if formatted else f"TEXT | opening tail{more}"


def _call_rules(calls: Calls) -> list[str]:
    begin, line = json.dumps(CALL_BEGINS.rstrip("\n")), json.dumps("\n")
    names = [f"call_{i}" for i in range(len(calls.functions))]
    rules = [
        f"call: {begin} tail",
        f"tail: {line} ({' | '.join(names)}) {json.dumps(CALL_ENDS)}",
        r"TEXT: /(.|\n)*/",
        f"opening[lazy]: TEXT {begin}",
    ]
    for name, function in zip(names, calls.functions, strict=True):
        head = json.dumps(f'{{"name": {json.dumps(function.name)}, "arguments": ')
        rules.append(f'{name}: {head} %json {json.dumps(_arguments(function))} "}}"')
    return rules


def _arguments(function: Function) -> dict[str, Any]:
    if not function.parameters:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    if function.strict:
        _check_strict(function.parameters, "tools", f"the parameters of {function.name!r}")
    return {"type": "object"} | function.parameters | {"x-guidance": _COMPACT}


def _body(wanted: ResponseFormat | None) -> dict[str, Any] | None:
    """The grammar of a response format; None for free text."""
    if wanted is None:
        return None
    for field in ("json_schema", "regex", "grammar"):
        if (getattr(wanted, field) is None) == (wanted.type == field):
            told = "needs the field" if wanted.type == field else "takes no field"
            message = f"A 'response_format' of type {wanted.type!r} {told} {field!r}."
            raise ApiError(message, "response_format", "invalid_value")
    if wanted.type == "json_object":
        return {"json_schema": {"type": "object", "x-guidance": _COMPACT}}
    if wanted.json_schema is not None:
        schema = wanted.json_schema.schema_ or {}
        if wanted.json_schema.strict:
            _check_strict(schema, "response_format", f"the schema {wanted.json_schema.name!r}")
        return {"json_schema": schema | {"x-guidance": _COMPACT}}
    if wanted.regex is not None:
        from llguidance import LLMatcher

        found: dict[str, Any] = json.loads(LLMatcher.grammar_from_regex(wanted.regex))
        return {"lark_grammar": found["grammars"][0]["lark_grammar"]}
    return None if wanted.grammar is None else {"lark_grammar": wanted.grammar}


def _check_strict(schema: Any, param: str, place: str) -> None:
    """A strict schema leaves no property open: refuse what is not fixed, as OpenAI does."""
    if isinstance(schema, list):
        for i, one in enumerate(schema):
            _check_strict(one, param, f"{place}[{i}]")
    if not isinstance(schema, dict):
        return
    properties = schema.get("properties")
    if isinstance(properties, dict) or schema.get("type") == "object":
        names = set(properties) if isinstance(properties, dict) else set()
        required = schema.get("required", [])
        if schema.get("additionalProperties") is not False:
            message = f"In {place}, 'strict' needs \"additionalProperties\": false in every object."
            raise ApiError(message, param, "invalid_json_schema")
        if not isinstance(required, list) or names - {name for name in required if isinstance(name, str)}:
            message = f"In {place}, 'strict' needs every property to be in 'required'."
            raise ApiError(message, param, "invalid_json_schema")
    for key in ("properties", "$defs", "definitions"):
        for name, one in (schema.get(key) or {}).items() if isinstance(schema.get(key), dict) else ():
            _check_strict(one, param, f"{place}, {name!r}")
    for key in ("items", "anyOf", "allOf", "oneOf", "prefixItems"):
        _check_strict(schema.get(key), param, f"{place}, {key!r}")
