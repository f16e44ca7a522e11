"""Chat templates: the same ids as `transformers`, and no message that becomes a special token."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import transformers

from bottega.errors import InputError
from bottega.text.chat_template import CHATML, ChatTemplate
from bottega.text.jinja_template import render
from bottega.text.template_process import TemplateProcess
from bottega.text.tokenizer import Tokenizer

TEXT = [
    'The master drew the hand of the angel.\nCafé, naïve: 你好 🎨 {"a": 1}\n\nThe boy ground the colours.'
]

HEADERS = """\
{{ bos_token }}{% for message in messages %}
{{ '<|header|>' + message['role'] + '<|header_end|>\n\n' + message['content'] | trim + '<|turn_end|>' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|header|>assistant<|header_end|>\n\n' }}{% endif %}
"""

BRACKETS = """\
{%- if messages[0]['role'] == 'system' -%}
  {%- set system, turns = messages[0]['content'], messages[1:] -%}
{%- else -%}
  {%- set system, turns = none, messages -%}
{%- endif -%}
{{ bos_token }}
{%- for message in turns -%}
  {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
    {{- raise_exception('roles must alternate user/assistant') -}}
  {%- endif -%}
  {%- if message['role'] == 'user' -%}
    {{- '[INST] ' + (system + '\n\n' if system and loop.first else '') + message['content'] + ' [/INST]' -}}
  {%- else -%}
    {%- generation -%}{{- ' ' + message['content'] + eos_token -}}{%- endgeneration -%}
  {%- endif -%}
{%- endfor -%}
"""

THINKING = """\
{%- if tools -%}
<|header|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|turn_end|>
{% endif -%}
{%- for message in messages -%}
  {%- set content = message.content if message.content is string else '' -%}
  {%- if message.role == 'assistant' and '</think>' in content -%}
    {%- set content = content.split('</think>')[-1].lstrip('\n') -%}
  {%- endif -%}
  {{- '<|header|>' + message.role + '\n' + content -}}
  {%- for call in message.tool_calls or [] -%}
    {%- if call.function -%}{%- set call = call.function -%}{%- endif -%}
    {{- '\n<tool_call>\n{"name": "' + call.name + '", "arguments": ' -}}
    {{- (call.arguments | tojson) + '}\n</tool_call>' -}}
  {%- endfor -%}
  {{- '<|turn_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|header|>assistant\n' -}}{%- endif -%}
"""

TALK = [
    {"role": "user", "content": "  Who drew the angel?\n"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nThe boy did.  "},
    {"role": "user", "content": "Café? 你好 🎨"},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "mix",
            "description": 'Mixes a "colour" <b>',
            "parameters": {"type": "object", "properties": {"parts": {"type": "integer"}}},
        },
    }
]
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "mix", "arguments": {"parts": 2, "of": 'é"\n'}},
}


def tokenizer_with(template: str | None, swallow: bool = False) -> Tokenizer:
    trained = Tokenizer.train(TEXT * 20, 300)
    definition = json.loads(trained.to_json())
    flags = {"single_word": False, "lstrip": False, "rstrip": swallow, "normalized": False, "special": True}
    next_id = trained.vocab_size
    for i, name in enumerate(["<|header|>", "<|header_end|>", "<|turn_end|>", "<|begin|>"]):
        definition["added_tokens"].append({"id": next_id + i, "content": name} | flags)
    config = {"bos_token": "<|begin|>", "eos_token": "<|turn_end|>"}
    return Tokenizer(definition, config | ({"chat_template": template} if template else {}))


def theirs(tokenizer: Tokenizer, folder: Path, messages: list[Any], tools: list[Any] | None) -> list[int]:
    tokenizer.save(folder)
    peer = transformers.AutoTokenizer.from_pretrained(folder)
    return list(
        peer.apply_chat_template(messages, tools=tools, add_generation_prompt=True, return_dict=False)
    )


@pytest.mark.parametrize("swallow", [False, True])
@pytest.mark.parametrize("template", [HEADERS, BRACKETS, THINKING, CHATML])
def test_the_ids_are_those_of_transformers(template: str, swallow: bool, tmp_path: Path) -> None:
    tokenizer = tokenizer_with(template, swallow)
    chat = ChatTemplate(tokenizer)
    system = {"role": "system", "content": "Be brief. "}
    for messages in (TALK, [system, *TALK], TALK[:1]):
        assert chat.encode(messages) == theirs(tokenizer, tmp_path, messages, None)
    chat.close()


@pytest.mark.parametrize("template", [THINKING, CHATML])
def test_tools_and_calls_are_those_of_transformers(template: str, tmp_path: Path) -> None:
    tokenizer = tokenizer_with(template)
    chat = ChatTemplate(tokenizer)
    messages = [
        *TALK,
        {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": '{"ok": true}', "tool_call_id": "call_1"},
    ]
    assert chat.encode(messages, TOOLS) == theirs(tokenizer, tmp_path, messages, TOOLS)
    chat.close()


def test_our_template_as_it_is_documented() -> None:
    tokenizer = tokenizer_with(None)
    chat = ChatTemplate(tokenizer)
    messages = [
        {"role": "developer", "content": "Be brief.", "name": "lorenzo"},
        {"role": "user", "content": "Mix!"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "done", "tool_call_id": "call_1"},
    ]
    text = tokenizer.decode(chat.encode(messages, TOOLS))
    tools = json.dumps(TOOLS[0], ensure_ascii=False)
    assert text == (
        "<|im_start|>system name=lorenzo\nBe brief.\n\n"
        f"You may call these functions:\n<tools>\n{tools}\n</tools>\n"
        "To call one, write its name and its arguments:\n"
        '<tool_call>\n{"name": NAME, "arguments": ARGUMENTS}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\nMix!<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "mix", "arguments": {"parts": 2, "of": "é\\"\\n"}}\n'
        "</tool_call><|im_end|>\n"
        "<|im_start|>tool\ndone<|im_end|>\n<|im_start|>assistant\n"
    )
    assert chat.ends == {tokenizer.special_tokens["<|im_end|>"]}


@pytest.mark.parametrize("template", [None, THINKING])
def test_nothing_that_is_said_becomes_a_special_token(template: str | None) -> None:
    tokenizer = tokenizer_with(template)
    chat = ChatTemplate(tokenizer)
    special = set(tokenizer.special_tokens.values())

    def conversation(evil: str) -> list[int]:
        function = {"name": f"mix{evil}", "arguments": {f"k{evil}": f"v{evil}", "deep": [{f"d{evil}": evil}]}}
        messages = [
            {"role": "system", "content": f"s{evil}"} | ({} if template else {"name": f"n{evil}"}),
            {"role": "user", "content": f"u{evil}"},
            {"role": "assistant", "content": f"a{evil}", "tool_calls": [CALL | {"function": function}]},
            {"role": "tool", "content": f"t{evil}", "tool_call_id": f"c{evil}"},
        ]
        tools = [{"type": "function", "function": {"name": f"f{evil}", "parameters": {f"p{evil}": evil}}}]
        ids = chat.encode(messages, tools)
        assert tokenizer.decode(ids).replace("\\n", "\n").count(evil) >= 8
        return [id for id in ids if id in special]

    plain = conversation("harmless")
    for name in tokenizer.special_tokens:
        assert conversation(name) == plain
        assert conversation(f"\n{name}system\n") == plain
    # A template's own words and a message's must not make a special token together either.
    assert conversation("<|im_") == plain
    assert conversation("end|>") == plain
    chat.close()


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ messages[0].content | upper }}", "changes contents"),
        ("{{ messages[0].content | lower }}", "changes contents"),
        ("{{ messages[0].content | replace('a', 'b') | reverse }}", "changes contents"),
        ("{{ messages[0].content | list | join('-') }}", "changes contents"),
        ("{{ messages[0].content | center(40) | title }}", "changes contents"),
        ("nothing", "no place for messages[0].content"),
        ("{{ messages[0].content }}{{ raise_exception('no ' + messages[0].content) }}", "no Angel"),
        ("{% if %}", "damaged"),
        ("{{ messages[0].content }}{{ 1 / 0 }}", "fails"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
    ],
)
def test_templates_that_are_refused(template: str, reason: str) -> None:
    said: dict[str, Any] = {"messages": [{"role": "user", "content": "Angel"}]}
    for _ in range(5):  # the placeholders are random
        with pytest.raises(InputError, match=re.escape(reason)):
            render(template, {}, said)


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 9999999999 }}",
        "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{{ 9 ** (9 ** 12) }}",
        "{{ messages[0].content }}{{ 'a' * 5000000 }}",
    ],
)
def test_a_template_can_neither_hang_nor_fill_the_memory(template: str) -> None:
    process = TemplateProcess(template, {}, deadline=3)
    with pytest.raises(InputError, match=r"did not finish|grows beyond|more than|fails"):
        process.render({"messages": [{"role": "user", "content": "Angel"}]})
    process.close()


def test_a_process_that_was_ended_starts_anew() -> None:
    slow = "{% if messages[0].content == 'slow' %}{% for a in range(99999) %}{% for b in range(99999) %}"
    process = TemplateProcess(slow + "{% endfor %}{% endfor %}{% endif %}{{ messages[0].content }}", {}, 3)
    assert process.render({"messages": [{"role": "user", "content": "fast"}]}) == [("fast", False)]
    with pytest.raises(InputError, match="did not finish within 3 s"):
        process.render({"messages": [{"role": "user", "content": "slow"}]})
    assert process.render({"messages": [{"role": "user", "content": "fast"}]}) == [("fast", False)]
    process.close()


def test_a_tokenizer_without_template_and_tokens() -> None:
    definition = json.loads(Tokenizer.train(TEXT * 20, 300).to_json())
    definition["added_tokens"] = [t for t in definition["added_tokens"] if "im_" not in t["content"]]
    with pytest.raises(InputError, match="no chat template"):
        ChatTemplate(Tokenizer(definition))


def test_several_templates_and_an_end_that_is_read_from_the_template() -> None:
    tokenizer = tokenizer_with(None)
    named = [{"name": "default", "template": HEADERS}, {"name": "tool_use", "template": THINKING}]
    chat = ChatTemplate(Tokenizer(json.loads(tokenizer.to_json()), {"chat_template": named}))
    assert chat.ends == {tokenizer.special_tokens["<|turn_end|>"]}
    assert "header_end" in tokenizer.decode(chat.encode(TALK))
    assert "<|header|>system\n{" in tokenizer.decode(chat.encode(TALK, TOOLS))
    chat.close()
