"""How the API's description words fields of chat more narrowly than they are read.

The models read what is refused too, to say why; the description promises only what works.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}


def _object(required: Schema, optional: Schema | None = None, **extra: Any) -> Schema:
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    } | extra


def neutral(*values: Any) -> Schema:
    """A field that works with these values, or null, alone."""
    return {"enum": [*values, None]}


_CONTENT: Schema = {
    "anyOf": [
        _TEXT,
        {"type": "array", "minItems": 1, "items": _object({"type": {"const": "text"}, "text": _TEXT})},
    ]
}
_CALL = _object(
    {"id": _TEXT, "type": {"const": "function"}, "function": _object({"name": _TEXT, "arguments": _TEXT})}
)
_SAID: list[Schema] = [
    _object({"role": {"enum": ["user", "system", "developer"]}, "content": _CONTENT}, {"name": _TEXT}),
    _object({"role": {"const": "assistant"}, "content": _CONTENT}, {"name": _TEXT}),
]
_CALLED: list[Schema] = [
    _object(
        {"role": {"const": "assistant"}, "tool_calls": {"type": "array", "minItems": 1, "items": _CALL}},
        {"content": {"anyOf": [_CONTENT, {"type": "null"}]}, "name": _TEXT},
    ),
    _object({"role": {"const": "function"}, "name": _TEXT | {"minLength": 1}, "content": _TEXT}),
]
_RESULT: Schema = _object(
    {"role": {"const": "tool"}, "content": _CONTENT, "tool_call_id": _TEXT},
    description="The id is that of an earlier call.",
)
MESSAGES: Schema = {
    "anyOf": [
        {"type": "array", "minItems": 1, "items": {"anyOf": items}}
        for items in (_SAID, [*_SAID, *_CALLED], [*_SAID, *_CALLED, _RESULT])
    ]
}
TOOLS: Schema = {
    "anyOf": [
        {
            "type": "array",
            "maxItems": 128,
            "items": _object(
                {
                    "type": {"const": "function"},
                    "function": _object(
                        {"name": NAME},
                        {
                            "description": _TEXT,
                            "parameters": {"type": "object", "description": "A JSON schema."},
                            "strict": {"type": "boolean"},
                        },
                    ),
                }
            ),
        },
        {"type": "null"},
    ]
}
_NAMED = _object({"type": {"const": "function"}, "function": _object({"name": NAME})})
TOOL_CHOICE: Schema = {
    "anyOf": [
        {"enum": ["none", "auto", "required", None], "description": "'required' needs tools."},
        _NAMED,
        _object(
            {
                "type": {"const": "allowed_tools"},
                "allowed_tools": _object(
                    {"mode": {"enum": ["auto", "required"]}, "tools": {"type": "array", "items": _NAMED}}
                ),
            }
        ),
    ]
}
FORMAT: Schema = {
    "anyOf": [
        _object({"type": {"enum": ["text", "json_object"]}}),
        _object(
            {
                "type": {"const": "json_schema"},
                "json_schema": _object(
                    {"name": NAME},
                    {"description": _TEXT, "schema": {"type": "object"}, "strict": {"type": "boolean"}},
                ),
            }
        ),
        _object({"type": {"const": "regex"}, "regex": _TEXT}, description="Extension."),
        _object(
            {"type": {"const": "grammar"}, "grammar": _TEXT}, description="Extension, in Lark's notation."
        ),
        {"type": "null"},
    ]
}
