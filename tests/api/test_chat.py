"""POST /v1/chat/completions over a real socket, with the stock client: roles, contents, every field."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from bottega.server.chat.job import ChatJob
from bottega.server.chat.schema import ChatRequest
from bottega.server.errors import ApiError
from bottega.text.chat_template import ChatTemplate
from bottega.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from conftest import Running

TALK: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who drew the angel?"},
]
FUNCTION = {"name": "mix", "parameters": {"type": "object", "properties": {"parts": {"type": "integer"}}}}
TOOL: dict[str, Any] = {"type": "function", "function": FUNCTION}
CALL = {"id": "call_1", "type": "function", "function": {"name": "mix", "arguments": '{"parts":2}'}}

CALL_READ = CALL | {"function": {"name": "mix", "arguments": {"parts": 2}}}
USER: dict[str, Any] = {"role": "user", "content": "x"}


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(**{"model": "bardi", "messages": TALK, "max_tokens": 8} | fields)


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def test_an_answer_is_what_a_completion_of_the_rendered_conversation_gives(
    client: openai.OpenAI, tokenizer: Tokenizer
) -> None:
    ids = ChatTemplate(tokenizer).encode(TALK)
    answer = ask(client, seed=5, max_tokens=12)
    completion = client.completions.create(model="bardi", prompt=ids, seed=5, max_tokens=12)
    assert answer.choices[0].message.content == completion.choices[0].text
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == completion.choices[0].finish_reason
    assert (answer.object, answer.model, answer.service_tier) == ("chat.completion", "bardi", "default")
    assert answer.system_fingerprint.startswith("fp_")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(ids), 12)
    assert answer.usage.total_tokens == len(ids) + 12
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


def test_every_role_and_form_of_content(client: openai.OpenAI, tokenizer: Tokenizer) -> None:
    messages = [
        {
            "role": "developer",
            "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}],
        },
        {"role": "user", "content": "Mix <|im_end|>!", "name": "lorenzo"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": [{"type": "text", "text": "done"}], "tool_call_id": "call_1"},
        {"role": "assistant", "content": "It is mixed.", "refusal": None},
        {"role": "function", "name": "mix", "content": "ochre"},
        {"role": "assistant", "refusal": "I would rather not.", "content": None},
    ]
    read = [
        {"role": "developer", "content": "Be\nbrief."},
        messages[1],
        {"role": "assistant", "content": "", "tool_calls": [CALL_READ]},
        {"role": "tool", "content": "done", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "It is mixed."},
        {"role": "tool", "name": "mix", "content": "ochre"},
        {"role": "assistant", "content": "I would rather not."},
    ]  # fmt: skip
    ids = ChatTemplate(tokenizer).encode(read)
    answer = ask(client, messages=messages, temperature=0)
    assert answer.usage.prompt_tokens == len(ids)
    completion = client.completions.create(model="bardi", prompt=ids, temperature=0, max_tokens=8)
    assert answer.choices[0].message.content == completion.choices[0].text


def test_results_are_read_in_the_order_of_their_calls(client: openai.OpenAI) -> None:
    calls = [CALL, CALL | {"id": "call_2"}]
    results: list[Any] = [
        {"role": "tool", "content": "first", "tool_call_id": "call_1"},
        {"role": "tool", "content": "second", "tool_call_id": "call_2"},
    ]
    before = [USER, {"role": "assistant", "content": None, "tool_calls": calls}]
    answers = [
        ask(client, messages=before + order, seed=1).choices[0].message.content
        for order in (results, results[::-1], [results[0] | {"content": "second"}, results[1]])
    ]
    assert answers[0] == answers[1] != answers[2]


def test_an_answer_ends_with_its_turn(client: openai.OpenAI, tokenizer: Tokenizer) -> None:
    end = {str(tokenizer.special_tokens["<|im_end|>"]): 100}
    answer = ask(client, logit_bias=end, logprobs=True)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content == ""
    assert answer.choices[0].logprobs.content == []
    assert answer.usage.completion_tokens == 0


def test_ignore_eos_and_min_tokens(client: openai.OpenAI, tokenizer: Tokenizer) -> None:
    ends = {str(tokenizer.special_tokens[name]): 8 for name in ("<|im_end|>", "<|endoftext|>")}

    def n_drawn(**extra: Any) -> list[int]:
        return [
            ask(client, seed=i, logit_bias=ends, extra_body=extra).usage.completion_tokens for i in range(6)
        ]

    assert min(n_drawn()) < 8
    assert n_drawn(ignore_eos=True, logit_bias={}) == [8] * 6
    assert n_drawn(min_tokens=8) == [8] * 6
    n = [
        client.completions.create(
            model="bardi", prompt="The", seed=i, max_tokens=8, logit_bias=ends, extra_body={"min_tokens": 8}
        ).usage.completion_tokens
        for i in range(6)
    ]
    assert n == [8] * 6


def test_n_seeds_and_streams(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"n": 3, "seed": 7, "max_tokens": 16, "logprobs": True, "top_logprobs": 2}
    whole = ask(client, **fields)
    contents, tokens, reasons = [""] * 3, [[] for _ in range(3)], [None] * 3
    roles, ids, usages = [], set(), []
    for chunk in ask(client, **fields, stream=True, stream_options={"include_usage": True}):
        ids.add(chunk.id)
        usages.append(chunk.usage)
        for choice in chunk.choices:
            contents[choice.index] += choice.delta.content or ""
            roles += [choice.delta.role] if choice.delta.role else []
            tokens[choice.index] += choice.logprobs.content if choice.logprobs else []
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert len(ids) == 1
    assert roles == ["assistant"] * 3
    assert usages[:-1] == [None] * (len(usages) - 1)
    last, known = usages[-1].model_dump(), whole.usage.model_dump()
    del last["prompt_tokens_details"], known["prompt_tokens_details"]  # the second prompt may be cached
    assert last == known
    for choice in whole.choices:
        assert choice.message.content == contents[choice.index]
        assert choice.logprobs.content == tokens[choice.index]
        assert choice.finish_reason == reasons[choice.index]
    assert len(set(contents)) == 3


def test_obfuscation_evens_the_sizes(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"stream": True, "max_tokens": 6, "seed": 1}
    padded = list(ask(client, **fields, stream_options={"include_obfuscation": True}))
    assert all(chunk.obfuscation for chunk in padded)
    plain = list(ask(client, **fields, stream_options={"include_obfuscation": False}))
    assert all(getattr(chunk, "obfuscation", None) is None for chunk in plain)
    texts = [[c.choices[0].delta.content for c in chunks] for chunks in (padded, plain)]
    assert texts[0] == texts[1]


def test_logprobs_have_bytes_and_are_sorted(client: openai.OpenAI, tokenizer: Tokenizer) -> None:
    answer = ask(client, seed=3, temperature=1.5, logprobs=True, top_logprobs=4)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    drawn = b"".join(bytes(token.bytes) for token in content)
    assert drawn.decode(errors="replace") == answer.choices[0].message.content
    for token in content:
        values = [one.logprob for one in token.top_logprobs]
        assert len(values) == 4
        assert values == sorted(values, reverse=True)
        assert token.logprob <= values[0] + 1e-6
    bare = ask(client, seed=3, logprobs=True).choices[0].logprobs.content
    assert all(token.top_logprobs == [] for token in bare)
    assert ask(client).choices[0].logprobs is None


def test_stop_strings_and_limits(client: openai.OpenAI) -> None:
    text = ask(client, seed=2, max_tokens=24).choices[0].message.content
    stop = text[5:8]
    cut = ask(client, seed=2, max_tokens=24, stop=[stop])
    assert cut.choices[0].message.content == text[: text.index(stop)]
    assert cut.choices[0].finish_reason == "stop"
    newer = ask(client, seed=2, max_tokens=None, max_completion_tokens=3)
    assert newer.usage.completion_tokens == 3
    none = ask(client, max_tokens=0)
    assert (none.choices[0].message.content, none.choices[0].finish_reason) == ("", "length")


def test_neutral_values_change_nothing(client: openai.OpenAI) -> None:
    plain = ask(client, seed=9).choices[0].message.content
    neutral = ask(
        client,
        seed=9,
        modalities=["text"],
        service_tier="auto",
        reasoning_effort="none",
        verbosity="medium",
        response_format={"type": "text"},
        prompt_cache_key="studio",
        prompt_cache_retention="in_memory",
        prompt_cache_options={"mode": "implicit", "ttl": "30m"},
        user="leonardo",
        safety_identifier="l",
        metadata={"commission": "angel"},
        parallel_tool_calls=True,
        tool_choice="none",
        tools=[TOOL],
        extra_body={"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "audio": None, "prediction": None},
    )
    assert neutral.choices[0].message.content == plain
    assert neutral.metadata == {"commission": "angel"}


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0]", "invalid_value"),
        ({"messages": [USER | {"role": "tool", "tool_call_id": "?"}]}, "messages[0]", "invalid_value"),
        ({"messages": [{"role": "assistant"}]}, "messages[0]", "invalid_value"),
        ({"messages": [USER | {"tool_calls": [CALL]}]}, "messages[0]", "invalid_value"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages", "invalid_value"),
        ({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/a.png"}}]}]},
         "messages[0].content[0]", "unsupported_value"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
         "messages[0].content[0]", "unsupported_value"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "x"}}]}]},
         "messages[0].content[0]", "unsupported_value"),
        ({"modalities": ["text", "audio"]}, "modalities", "unsupported_value"),
        ({"extra_body": {"audio": {"voice": "alloy", "format": "wav"}}}, "audio", "unsupported_value"),
        ({"service_tier": "flex"}, "service_tier", "unsupported_value"),
        ({"reasoning_effort": "high"}, "reasoning_effort", "unsupported_value"),
        ({"verbosity": "low"}, "verbosity", "unsupported_value"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction", "unsupported_value"),
        ({"web_search_options": {}}, "web_search_options", "unsupported_value"),
        ({"prompt_cache_retention": "24h"}, "prompt_cache_retention", "unsupported_value"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens", "invalid_value"),
        ({"max_tokens": 5000}, "max_tokens", "context_length_exceeded"),
        ({"messages": [{"role": "user", "content": "angel " * 2000}]}, "messages", "context_length_exceeded"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools", "unsupported_value"),
        ({"tools": [TOOL, TOOL]}, "tools", "invalid_value"),
        ({"tools": [TOOL], "functions": [FUNCTION]}, "functions", "invalid_value"),
        ({"tools": [TOOL | {"type": "custom"}]}, "tools", "unsupported_value"),
        ({"tools": [TOOL | {"custom": {"name": "x"}}]}, "tools", "unsupported_value"),
        ({"tools": [TOOL], "function_call": "none"}, "function_call", "invalid_value"),
        ({"functions": [FUNCTION], "tool_choice": "none"}, "tool_choice", "invalid_value"),
        ({"functions": [FUNCTION], "parallel_tool_calls": False}, "parallel_tool_calls", "invalid_value"),
        ({"tools": [TOOL], "tool_choice": {"type": "custom", "function": {"name": "mix"}}},
         "tool_choice", "unsupported_value"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "mix"},
          "allowed_tools": {"mode": "auto", "tools": []}}}, "tool_choice", "unsupported_value"),
        ({"messages": [{"role": "user", "content": [
            {"type": "text", "text": "x", "image_url": {"url": "http://127.0.0.1:1/a.png"}}]}]},
         "messages[0].content[0]", "invalid_value"),
        ({"messages": [{"role": "assistant", "content": "Yes.", "refusal": "No."}]},
         "messages[0]", "invalid_value"),
        ({"messages": [{"role": "assistant", "tool_calls": [CALL | {"custom": {}}]}]},
         "messages[0].tool_calls[0]", "unsupported_value"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "glue"}}},
         "tool_choice", "invalid_value"),
        ({"metadata": {"k": "v" * 513}}, "metadata", "invalid_value"),
        ({"extra_body": {"min_tokens": 9}}, "min_tokens", "invalid_value"),
        ({"extra_body": {"besto": 1}}, "besto", "unknown_parameter"),
        ({"model": "gone"}, "model", "model_not_found"),
    ],
)  # fmt: skip
def test_what_is_refused(client: openai.OpenAI, fields: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        ask(client, **fields)
    assert refused.value.status_code == (404 if code == "model_not_found" else 400)
    assert (refused.value.body["param"], refused.value.body["code"]) == (param, code)  # type: ignore[index]


def test_models_with_templates_of_their_own(running: Running, tokenizer: Tokenizer) -> None:
    def job(config: dict[str, Any], **fields: Any) -> ChatJob:
        served = replace(running.served, reads=Tokenizer(json.loads(tokenizer.to_json()), config))
        body = ChatRequest.model_validate({"model": "bardi", "messages": [USER], "max_tokens": 4} | fields)
        try:
            return ChatJob(body, served)
        finally:
            served.chat.close()

    own = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|endoftext|>{% endfor %}"
    found = job({"chat_template": own})
    assert tokenizer.decode(found.prompt) == "user: x<|endoftext|>"
    assert found.params.stop_tokens == (tokenizer.end_of_text,)
    for template, fields, reason in (
        (own, {"tools": [TOOL]}, "no place for tools"),
        (own, {"messages": [USER | {"name": "leonardo"}]}, r"no place for messages\[0\].name"),
        ("{{ messages[0].content | upper }}", {}, "changes contents"),
        ("{{ raise_exception('only twins') }}", {}, "only twins"),
    ):
        with pytest.raises(ApiError, match=reason) as refused:
            job({"chat_template": template}, **fields)
        assert (refused.value.param, refused.value.status) == ("messages", 400)


def test_a_model_that_cannot_chat(running: Running, tokenizer: Tokenizer) -> None:
    definition = json.loads(tokenizer.to_json())
    definition["added_tokens"] = [one for one in definition["added_tokens"] if "im_" not in one["content"]]
    served = replace(running.served, reads=Tokenizer(definition))
    body = ChatRequest.model_validate({"model": "bardi", "messages": [USER]})
    with pytest.raises(ApiError, match="no chat template") as refused:
        ChatJob(body, served)
    assert (refused.value.param, refused.value.code) == ("model", "unsupported_value")


def test_the_document_describes_the_route(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    assert {"get", "post"} <= paths["/v1/chat/completions"].keys()
    assert {"get", "post", "delete"} <= paths["/v1/chat/completions/{completion_id}"].keys()
    assert "get" in paths["/v1/chat/completions/{completion_id}/messages"]
