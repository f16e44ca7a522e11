"""Output under a grammar: every sentence is whole within its budget, whatever the model would rather say."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import jsonschema
import numpy as np
import psutil
import pytest
from llguidance import LLMatcher

from bottega.engine.constraints import KEPT, KEPT_LENGTH, LONGEST, Grammars, check_grammar
from bottega.errors import InputError
from bottega.text.tokenizer import Tokenizer

FLAT = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TREE = {
    "type": "object",
    "properties": {"v": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["v", "kids"],
    "additionalProperties": False,
}
CHOICE = {
    "type": "object",
    "properties": {
        "k": {"enum": ["madder", "verdigris", "lapis"]},
        "l": {"type": "array", "items": {"type": "number"}, "minItems": 2},
    },
    "required": ["k", "l"],
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(['{"name": "Cennino", "age": 27}, [[1, 2.5], true, null] and the glue'] * 9, 290)


@pytest.fixture(scope="module")
def grammars(tokenizer: Tokenizer) -> Grammars:
    return Grammars(tokenizer.to_json(), tokenizer.vocab_size, tokenizer.end_of_text)


def json_grammar(schema: dict[str, Any]) -> str:
    return LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_pattern": r"[ \n]{0,2}"})


def draw(grammars: Grammars, tokenizer: Tokenizer, grammar: str, seed: int, budget: int) -> str:
    """What a model of random weights says: the same tokens are likely at every step."""
    noise = np.random.default_rng(seed)
    likes = noise.normal(0, 2, tokenizer.vocab_size)
    constraint, ids = grammars.constraint(grammar), []
    while len(ids) < budget:
        allowed = constraint.allowed(budget - len(ids))
        assert allowed.any()
        scores = np.where(allowed, likes + noise.gumbel(size=len(likes)), -np.inf)
        id = int(scores.argmax())
        if id == tokenizer.end_of_text:
            assert constraint.finished or constraint.whole or constraint.fault
            break
        ids.append(id)
        constraint.advance(id)
    return tokenizer.decode(ids)


def share_that_fits(
    grammars: Grammars, tokenizer: Tokenizer, schema: dict[str, Any], seeds: int, budget: int = 64
) -> float:
    fitting = 0
    for seed in range(seeds):
        text = draw(grammars, tokenizer, json_grammar(schema), seed, budget)
        try:
            jsonschema.validate(json.loads(text), schema)
            fitting += 1
        except (ValueError, jsonschema.ValidationError):
            pass
    return fitting / seeds


def test_json_objects_are_closed_within_the_budget(grammars: Grammars, tokenizer: Tokenizer) -> None:
    assert share_that_fits(grammars, tokenizer, {"type": "object"}, 200) >= 0.95


def test_a_flat_schema_always_fits(grammars: Grammars, tokenizer: Tokenizer) -> None:
    assert share_that_fits(grammars, tokenizer, FLAT, 200) == 1


@pytest.mark.parametrize("schema", [TREE, CHOICE])
@pytest.mark.parametrize("budget", [40, 100])
def test_other_schemas_nearly_always_fit(
    grammars: Grammars, tokenizer: Tokenizer, schema: dict[str, Any], budget: int
) -> None:
    assert share_that_fits(grammars, tokenizer, schema, 10, budget) >= 0.9


def test_regular_expressions_and_grammars_are_obeyed(grammars: Grammars, tokenizer: Tokenizer) -> None:
    dated = LLMatcher.grammar_from_regex(r"[0-9]{4}-[0-9]{2}( [a-z]+)*!")
    nested = LLMatcher.grammar_from_lark('start: "(" start ")" | "x"')
    for seed in range(8):
        text = draw(grammars, tokenizer, dated, seed, 40)
        assert re.fullmatch(r"[0-9]{4}-[0-9]{2}( [a-z]+)*!", text), text
        text = draw(grammars, tokenizer, nested, seed, 21)
        depth = text.count("(")
        assert text == "(" * depth + "x" + ")" * depth


def test_after_the_sentence_only_its_end_may_come(grammars: Grammars, tokenizer: Tokenizer) -> None:
    constraint = grammars.constraint(LLMatcher.grammar_from_regex("glue"))
    for id in tokenizer.encode("glue"):
        assert not constraint.whole
        assert constraint.allowed(50)[id]
        constraint.advance(id)
    assert constraint.whole
    assert constraint.finished
    assert np.flatnonzero(constraint.allowed(50)).tolist() == [tokenizer.end_of_text]
    constraint.advance(tokenizer.encode("g")[0])
    assert "cannot be followed any further" in constraint.fault
    assert not constraint.finished


@pytest.mark.parametrize(
    "grammar",
    [LLMatcher.grammar_from_regex("["), "{}", "no grammar", LLMatcher.grammar_from_lark("start: x")],
)
def test_a_wrong_grammar_is_refused(grammars: Grammars, tokenizer: Tokenizer, grammar: str) -> None:
    with pytest.raises(InputError, match="cannot be followed"):
        check_grammar(grammar, tokenizer)
    with pytest.raises(InputError, match="cannot be followed"):
        grammars.constraint(grammar)


@pytest.mark.parametrize("regex", [r"(a+)+b", r"((a{1,100}){1,100}){1,100}", r"(x+x+)+y", "((a*)*)*b"])
def test_nested_quantifiers_take_no_time(grammars: Grammars, tokenizer: Tokenizer, regex: str) -> None:
    began = time.monotonic()
    grammar = LLMatcher.grammar_from_regex(regex)
    check_grammar(grammar, tokenizer)
    draw(grammars, tokenizer, grammar, 0, 32)
    assert time.monotonic() - began < 60


def test_thousands_of_schemas_leave_no_memory_behind(grammars: Grammars) -> None:
    def schema(i: int) -> str:
        return json_grammar({"type": "object", "properties": {f"colour_{i}": {"type": "string"}}})

    def several(numbers: range) -> int:
        for i in numbers:
            grammars.constraint(schema(i))
        return psutil.Process().memory_info().rss

    first = several(range(500))
    assert several(range(500, 3000)) - first < 30e6


def test_few_grammars_stay_compiled_and_fewer_of_the_long_ones(tokenizer: Tokenizer) -> None:
    def literal(i: int, length: int) -> str:
        return json.dumps({"grammars": [{"lark_grammar": f'start: "{i}{"x" * length}"'}]})

    grammars = Grammars(tokenizer.to_json(), tokenizer.vocab_size, tokenizer.end_of_text)
    for i in range(200):
        grammars.constraint(literal(i, 10))
    assert len(grammars.compiled) == KEPT
    grammars.constraint(literal(140, 10))  # used again: it stays longest
    for i in range(KEPT - 1):
        grammars.constraint(literal(i, 10))
    assert grammars.compiled[0] == literal(140, 10)
    for i in range(8):
        grammars.constraint(literal(i, KEPT_LENGTH // 4))
        assert sum(map(len, grammars.compiled)) <= KEPT_LENGTH
    assert grammars.compiled[-1] == literal(7, KEPT_LENGTH // 4)
    assert len(grammars.compiled) == 3
    with pytest.raises(InputError, match="characters long"):
        grammars.constraint(literal(0, LONGEST))


def test_a_compiled_grammar_is_its_own(grammars: Grammars, tokenizer: Tokenizer) -> None:
    """Neither a grammar that differs in one letter nor one that is half followed is given for another."""
    blue, blur = (LLMatcher.grammar_from_regex(word) for word in ("blue", "blur"))
    half = grammars.constraint(blue)
    for id in tokenizer.encode("blu"):
        half.advance(id)
    for grammar, word in ((blue, "blue"), (blur, "blur")):
        assert draw(grammars, tokenizer, grammar, 0, 16) == word
    assert not half.whole
