"""Calls in an answer's text: the same however the text is cut."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from bottega.server.chat.calls import CallParser
from bottega.server.errors import ApiError
from bottega.server.grammars import Calls, Function, grammar_of
from bottega.server.sampling_schema import ResponseFormat
from bottega.text.tokenizer import Tokenizer

ARGUMENTS = ['{"a":"}\\n</tool_call>"}', '{"of":{"parts":[1,2]}}', "{}"]
BOTH = "".join(
    f'{"" if i == 0 else chr(10)}<tool_call>\n{{"name": "f{i}", "arguments": {one}}}\n</tool_call>'
    for i, one in enumerate(ARGUMENTS)
)


def parse(texts: list[str]) -> tuple[str, list[tuple[str, str]]]:
    parser, content, calls = CallParser(), "", []
    for i, text in enumerate(texts):
        for delta in parser.push(text, last=i == len(texts) - 1):
            if delta.name is not None:
                calls.append((delta.name, ""))
            if delta.call is None:
                content += delta.text
            else:
                calls[delta.call] = (calls[delta.call][0], calls[delta.call][1] + delta.text)
    return content, calls


@given(st.lists(st.integers(0, len(BOTH) + 9), max_size=12))
def test_calls_are_found_however_the_text_is_cut(cuts: list[int]) -> None:
    text = "Well: <tool" + BOTH
    edges = [0, *sorted(cuts), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    content, calls = parse(pieces)
    assert content == "Well: <tool"
    assert calls == [(f"f{i}", one) for i, one in enumerate(ARGUMENTS)]


def test_a_call_that_is_cut_off_gives_what_there_is() -> None:
    assert parse(['<tool_call>\n{"na']) == ("", [])
    assert parse(['<tool_call>\n{"name": "f", "arguments": {"a":1']) == ("", [("f", '{"a":1')])
    assert parse(["no <tool_"]) == ("no <tool_", [])


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["The master drew the hand of the angel. " * 9], 280)


def accepts(tokenizer: Tokenizer, grammar: str | None, text: str, end: bool = False) -> bool:
    assert grammar is not None
    known = LLTokenizer(tokenizer.to_json(), eos_token=tokenizer.end_of_text)
    matcher = LLMatcher(known, grammar)
    ids = tokenizer.encode(text) + ([tokenizer.special_tokens["<|im_end|>"]] if end else [])
    return matcher.try_consume_tokens(ids) == len(ids) and bool(matcher.is_accepting())


CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
GET = '<tool_call>\n{"name": "get", "arguments": {"city":"Vinci}"}}\n</tool_call>'
NONE = '<tool_call>\n{"name": "none", "arguments": {}}\n</tool_call>'


def test_what_calls_allow(tokenizer: Tokenizer) -> None:
    functions = [Function("get", CITY), Function("none")]
    end = {tokenizer.special_tokens["<|im_end|>"]}
    free = grammar_of(None, tokenizer, Calls(functions, required=False), end)
    must = grammar_of(None, tokenizer, Calls(functions, required=True), end)
    once = grammar_of(None, tokenizer, Calls(functions, required=True, parallel=False), end)
    assert all(accepts(tokenizer, one, GET, end=True) for one in (free, must, once))
    assert all(accepts(tokenizer, one, NONE) for one in (free, must, once))
    assert [accepts(tokenizer, one, f"{GET}\n{NONE}") for one in (free, must, once)] == [True, True, False]
    assert [accepts(tokenizer, one, "hello", end=True) for one in (free, must, once)] == [True, False, False]
    assert accepts(tokenizer, free, f"I ask: {GET}")
    assert not accepts(tokenizer, free, GET.replace("city", "town"))
    assert not accepts(tokenizer, must, GET.replace("get", "set"))
    body = grammar_of(ResponseFormat(type="json_object"), tokenizer, Calls(functions, required=False), end)
    assert [accepts(tokenizer, body, one) for one in ('{"a":1}', GET, "hello")] == [True, True, False]


def test_json_is_compact(tokenizer: Tokenizer) -> None:
    grammar = grammar_of(ResponseFormat(type="json_object"), tokenizer)
    assert accepts(tokenizer, grammar, '{"a":[1,{"b":null}]}')
    assert not accepts(tokenizer, grammar, '{"a": 1}')
    assert not accepts(tokenizer, grammar, "[]")
    lax = {"type": "object", "x-guidance": {"whitespace_flexible": True}}
    own = ResponseFormat.model_validate({"type": "json_schema", "json_schema": {"name": "n", "schema": lax}})
    assert not accepts(tokenizer, grammar_of(own, tokenizer), '{"a": 1}')


STRICT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CLOSED: dict[str, Any] = STRICT | {"additionalProperties": False}


def schema(given: dict[str, Any], strict: bool = False) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "n", "strict": strict, "schema": given}}


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"type": "regex", "regex": "(a"}, "unclosed group"),
        ({"type": "regex"}, "needs the field 'regex'"),
        ({"type": "text", "regex": "a"}, "takes no field 'regex'"),
        ({"type": "grammar", "grammar": "start: nothing"}, "unknown name"),
        (schema({"not": {}}), "not"),
        (schema({"$ref": "http://127.0.0.1:1/s"}), "does not fetch"),
        (schema(STRICT, strict=True), "additional"),
        (schema({"anyOf": [CLOSED | {"required": []}]}, strict=True), "'required'"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_grammar(tokenizer: Tokenizer, wanted: dict[str, Any], reason: str) -> None:
    with pytest.raises(ApiError, match=reason) as refused:
        grammar_of(ResponseFormat.model_validate(wanted), tokenizer)
    assert refused.value.param == "response_format"


def test_a_strict_schema_that_is_complete(tokenizer: Tokenizer) -> None:
    wanted = schema(CLOSED | {"$defs": {"d": CLOSED}}, strict=True)
    grammar = grammar_of(ResponseFormat.model_validate(wanted), tokenizer)
    assert grammar is not None
    assert json.loads(grammar)["grammars"][1]["json_schema"]["properties"] == STRICT["properties"]
