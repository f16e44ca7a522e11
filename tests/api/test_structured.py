"""Structured output over a real socket: formats and calls from a model of random weights."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import jsonschema
import openai
import pytest
from pydantic import BaseModel

from bottega.text.tokenizer import Tokenizer

TALK: list[Any] = [{"role": "user", "content": "Mix a colour."}]
SCHEMA = {
    "type": "object",
    "properties": {"pigment": {"enum": ["ochre", "lead white"]}, "parts": {"type": "integer"}},
    "required": ["pigment", "parts"],
    "additionalProperties": False,
}
MIX: dict[str, Any] = {"type": "function", "function": {"name": "mix", "parameters": SCHEMA, "strict": True}}
REST: dict[str, Any] = {"type": "function", "function": {"name": "rest"}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "mixture", "schema": SCHEMA, "strict": True}}


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(**{"model": "bardi", "messages": TALK, "max_tokens": 64} | fields)


@pytest.mark.parametrize("seed", range(5))
def test_a_schema_is_followed(client: openai.OpenAI, seed: int) -> None:
    choice = ask(client, seed=seed, response_format=FORMAT).choices[0]
    jsonschema.validate(json.loads(choice.message.content), SCHEMA)
    assert choice.finish_reason == "stop"
    assert json.loads(choice.message.content)["pigment"] in ("ochre", "lead white")


@pytest.mark.parametrize("seed", range(5))
def test_json_is_closed_within_the_budget(client: openai.OpenAI, seed: int) -> None:
    choice = ask(client, seed=seed, response_format={"type": "json_object"}, max_tokens=24).choices[0]
    assert isinstance(json.loads(choice.message.content), dict)


def test_regex_and_grammar(client: openai.OpenAI) -> None:
    regex = r"[a-f]{3}-\d{2}"
    text = ask(client, response_format={"type": "regex", "regex": regex}).choices[0].message.content
    assert re.fullmatch(regex, text)
    lark = 'start: "ochre" (" and " "umber")+'
    text = ask(client, response_format={"type": "grammar", "grammar": lark}).choices[0].message.content
    assert re.fullmatch(r"ochre( and umber)+", text)


def test_completions_follow_a_format_too(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="bardi", prompt="A mixture:", max_tokens=64, seed=1, extra_body={"response_format": FORMAT}
    )
    jsonschema.validate(json.loads(answer.choices[0].text), SCHEMA)


def test_the_clients_own_parser(client: openai.OpenAI) -> None:
    class Mixture(BaseModel):
        pigment: Literal["ochre", "umber"]
        parts: int

    parsed = client.chat.completions.parse(
        model="bardi", messages=TALK, response_format=Mixture, max_tokens=100, seed=2
    )
    assert isinstance(parsed.choices[0].message.parsed, Mixture)


def test_what_is_whole_at_the_last_token_is_parsed(client: openai.OpenAI, tokenizer: Tokenizer) -> None:
    """The client's parser raises where an answer was cut off, so a whole one must not be said to be."""

    class Colour(BaseModel):
        name: Literal["ochre"]

    n = len(tokenizer.encode('{"name":"ochre"}'))
    for max_tokens in range(n, 24):
        parsed = client.chat.completions.parse(
            model="bardi", messages=TALK, response_format=Colour, max_tokens=max_tokens, seed=max_tokens
        )
        assert parsed.choices[0].finish_reason == "stop"
        assert isinstance(parsed.choices[0].message.parsed, Colour)


@pytest.mark.parametrize("stream", [False, True])
def test_a_grammar_that_grows_too_complex_is_an_error(client: openai.OpenAI, stream: bool) -> None:
    rules = "\n".join(f'r{i}: "a" "b{i}"' for i in range(2500))  # all of them are possible after the a
    lark = 'start: "a" (' + " | ".join(f"r{i}" for i in range(2500)) + ")\n" + rules
    wanted = {"type": "grammar", "grammar": lark}
    with pytest.raises(openai.APIError, match="cannot be followed any further"):
        list(ask(client, response_format=wanted, stream=stream))
    assert ask(client, max_tokens=1).choices


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "mix"}}])
def test_a_call_that_must_be_made(client: openai.OpenAI, choice: Any) -> None:
    answer = ask(client, tools=[MIX], tool_choice=choice, parallel_tool_calls=False, seed=1, max_tokens=120)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    (call,) = message.tool_calls
    assert call.type == "function"
    assert call.id.startswith("call_")
    assert call.function.name == "mix"
    jsonschema.validate(json.loads(call.function.arguments), SCHEMA)


def test_a_call_in_pieces_is_the_call(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"tools": [MIX, REST], "tool_choice": "required", "seed": 4, "max_tokens": 200}
    whole = ask(client, **fields)
    calls: list[list[str]] = []
    reason = None
    for chunk in ask(client, **fields, stream=True):
        delta = chunk.choices[0].delta
        reason = chunk.choices[0].finish_reason or reason
        assert not delta.content
        for part in delta.tool_calls or []:
            if part.id:
                assert (part.type, part.index) == ("function", len(calls))
                calls.append([part.function.name, ""])
            calls[part.index][1] += part.function.arguments
    assert reason == whole.choices[0].finish_reason
    assert calls == [[c.function.name, c.function.arguments] for c in whole.choices[0].message.tool_calls]


def test_a_conversation_with_a_call(client: openai.OpenAI) -> None:
    message = ask(client, tools=[MIX], tool_choice="required", seed=1, max_tokens=120).choices[0].message
    results = [{"role": "tool", "content": "done", "tool_call_id": call.id} for call in message.tool_calls]
    answer = ask(client, messages=[*TALK, message, *results], tools=[MIX], tool_choice="none")
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].message.content


def test_the_model_may_answer_or_call(client: openai.OpenAI) -> None:
    for seed in range(4):
        answer = ask(client, tools=[MIX], seed=seed, max_tokens=12)
        assert answer.choices[0].message.content is not None or answer.choices[0].message.tool_calls


def test_only_allowed_tools_are_called(client: openai.OpenAI) -> None:
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "rest"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    for seed in range(3):
        answer = ask(client, tools=[MIX, REST], tool_choice=choice, seed=seed, max_tokens=100)
        assert {call.function.name for call in answer.choices[0].message.tool_calls} == {"rest"}


def test_functions_by_their_older_names(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {
        "functions": [MIX["function"]], "function_call": {"name": "mix"}, "seed": 1, "max_tokens": 120,
    }  # fmt: skip
    choice = ask(client, **fields).choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.tool_calls is None
    jsonschema.validate(json.loads(choice.message.function_call.arguments), SCHEMA)
    name, arguments = "", ""
    for chunk in ask(client, **fields, stream=True):
        part = chunk.choices[0].delta.function_call
        name += (part and part.name) or ""
        arguments += (part and part.arguments) or ""
    assert (name, arguments) == ("mix", choice.message.function_call.arguments)


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": {"not": {}}}}, "invalid_json_schema"),
        ({"type": "json_schema"}, "invalid_value"),
        ({"type": "regex", "regex": "(a"}, "invalid_value"),
        ({"type": "yaml"}, "invalid_value"),
    ],
)
def test_formats_that_are_refused(client: openai.OpenAI, wanted: dict[str, Any], code: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, response_format=wanted)
    assert (refused.value.body["param"], refused.value.body["code"]) == ("response_format", code)  # type: ignore[index]
