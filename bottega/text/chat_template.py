"""Conversations as token ids: a model's own chat template, or ChatML where its tokenizer has the tokens.

The special tokens of a conversation come from the template alone. What people wrote is encoded as ordinary
text, so that no message can end its turn, begin another's or become any other special token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from bottega.errors import InputError
from bottega.text.jinja_template import Parts, render
from bottega.text.template_process import TemplateProcess
from bottega.text.tokenizer import Tokenizer

CALL_BEGINS, CALL_ENDS = "<tool_call>\n", "\n</tool_call>"

# Our own models' template: ChatML (OpenAI 2023), with tools and calls as in Hermes (Nous Research 2024).
CHATML = """\
{%- set told = namespace(tools=not tools) -%}
{%- macro describe() -%}
You may call these functions:
<tools>
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}</tools>
To call one, write its name and its arguments:
<tool_call>
{"name": NAME, "arguments": ARGUMENTS}
</tool_call>
{%- set told.tools = true -%}
{%- endmacro -%}
{%- if tools and (not messages or messages[0].role not in ('system', 'developer')) -%}
<|im_start|>system
{{ describe() }}<|im_end|>
{% endif -%}
{%- for message in messages -%}
<|im_start|>{{ 'system' if message.role == 'developer' else message.role }}
{%- if message.name %} name={{ message.name }}{% endif %}

{{ message.content or '' }}
{%- if not told.tools and loop.first %}


{{ describe() }}
{%- endif %}
{%- for call in message.tool_calls or [] %}
{%- if message.content or not loop.first %}

{% endif %}
<tool_call>
{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""


class ChatTemplate:
    """How a tokenizer's model reads a conversation.

    A message is a dict: `role` (system, developer, user, assistant, tool), `content` (a string or None), and
    where they apply `name`, `tool_call_id` and `tool_calls`, whose `function` has a `name` and `arguments`,
    an object. `tools` are functions in OpenAI's form. Raises InputError where the tokenizer has neither a
    template nor the tokens of ChatML.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._sources = _sources(tokenizer.config.get("chat_template"))
        self._processes: dict[str, TemplateProcess] = {}
        if not self._sources and not {"<|im_start|>", "<|im_end|>"} <= tokenizer.special_tokens.keys():
            raise InputError(
                "the model has no chat template, and its tokenizer lacks ChatML's <|im_start|> and <|im_end|>"
            )

    def encode(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None
    ) -> list[int]:
        """The token ids of a conversation, up to where the assistant's answer begins.

        Raises InputError where the template refuses it or has no place for a part of it.
        """
        return self._tokenizer.encode_parts(self._render(messages, tools, True))

    @cached_property
    def ends(self) -> frozenset[int]:
        """The special tokens that end an answer: the first that the template puts after one."""
        said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        try:
            parts = self._render(said, None, False)
        except InputError:
            return frozenset()
        at = max((i for i, part in enumerate(parts) if part == ("b", False)), default=len(parts))
        special = set(self._tokenizer.special_tokens.values())
        after = self._tokenizer.encode_parts(parts[at + 1 :])
        return frozenset([id for id in after if id in special][:1])

    def close(self) -> None:
        """End the processes of an imported template."""
        for process in self._processes.values():
            process.close()

    def _render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        add_generation_prompt: bool,
    ) -> Parts:
        given = [dict(message) for message in messages]
        data: dict[str, Any] = {"messages": given, "tools": list(tools) if tools else None}
        data["add_generation_prompt"] = add_generation_prompt
        if not self._sources:
            return render(CHATML, {}, data)
        source = self._sources.get("tool_use" if tools else "default") or self._sources["default"]
        if "developer" not in source:  # OpenAI's newer name for the system's words
            for message in given:
                if message["role"] == "developer":
                    message["role"] = "system"
        if source not in self._processes:
            self._processes[source] = TemplateProcess(source, _special_names(self._tokenizer.config))
        return self._processes[source].render(data)


def _sources(given: object) -> dict[str, str]:
    """The templates of a tokenizer_config.json by name: it may have one, or a list of them."""
    if isinstance(given, str):
        return {"default": given}
    named = {}
    for one in given if isinstance(given, list) else []:
        if isinstance(one, dict) and isinstance(one.get("template"), str):
            named[str(one.get("name"))] = one["template"]
    return named if "default" in named else {}


def _special_names(config: Mapping[str, Any]) -> dict[str, str]:
    """What templates know as bos_token, eos_token and so on."""
    names = {}
    for key in ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"):
        value = config.get(key)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            names[key] = value
    return names
