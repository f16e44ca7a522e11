"""Reading the body of a chat request: its conversation, its tools, and what is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bottega.server.chat.schema import ChatRequest, FunctionSpec, Message, Named, ToolChoice
from bottega.server.completions.reading import check_sampling
from bottega.server.errors import ApiError
from bottega.server.grammars import Calls, Function

# Fields for what no model here can do, and the values under which they ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "moderation": (),
    "prediction": (),
    "web_search_options": (),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "prompt_cache_retention": ("in_memory",),
}

# What belongs to the older or the newer name of tools, and what the other name has for it.
_INSTEAD = {
    "tool_choice": "the choice is 'function_call' there",
    "parallel_tool_calls": "functions are called one at a time",
    "function_call": "the choice is 'tool_choice' there",
}


@dataclass(frozen=True)
class Tools:
    """The functions that a conversation knows, and how an answer may call them (None: not at all)."""

    described: list[dict[str, Any]]
    calls: Calls | None
    legacy: bool  # asked for by `functions`, so answered by `function_call`


def check_fields(body: ChatRequest) -> None:
    """Refuse what no model here can do, and fields that do not go together."""
    check_sampling(body)
    for field, neutral in _NEUTRAL.items():
        value = getattr(body, field)
        if value is not None and value not in neutral:
            allowed = " or ".join(json.dumps(one) for one in (None, *neutral))
            message = f"This server does not support this value of {field!r}; it can be {allowed}."
            raise ApiError(message, field, "unsupported_value")
    if body.prompt_cache_options is not None and body.prompt_cache_options.mode == "explicit":
        message = "Prefixes are always cached implicitly: 'mode' can be \"implicit\"."
        raise ApiError(message, "prompt_cache_options", "unsupported_value")
    if body.top_logprobs is not None and not body.logprobs:
        message = "'top_logprobs' is only allowed with 'logprobs': true."
        raise ApiError(message, "top_logprobs", "invalid_value")
    if None not in (body.max_tokens, body.max_completion_tokens) and (
        body.max_tokens != body.max_completion_tokens
    ):
        message = "'max_tokens' is the older name of 'max_completion_tokens'; give one of them."
        raise ApiError(message, "max_tokens", "invalid_value")


def read_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The conversation as chat templates know it: texts as one string, arguments as objects."""
    called: dict[str, int] = {}
    read = [_read_message(message, f"messages[{i}]", called) for i, message in enumerate(messages)]
    # Templates tell the results of several calls apart by their order alone.
    ordered: list[dict[str, Any]] = []
    for _, run in itertools.groupby(read, lambda message: "tool_call_id" in message):
        ordered += sorted(run, key=lambda message: called.get(message.get("tool_call_id", ""), 0))
    return ordered


def _read_message(message: Message, place: str, called: dict[str, int]) -> dict[str, Any]:
    def refuse(what: str, code: str = "invalid_value") -> ApiError:
        return ApiError(f"{place}: {what}", place, code)

    if message.audio is not None:
        raise refuse("an answer in audio cannot be read; leave out 'audio'.", "unsupported_value")
    if message.role != "assistant" and (message.tool_calls or message.function_call or message.refusal):
        raise refuse("only the assistant refuses or calls functions.")
    content = _read_content(message, place)
    calls = _read_calls(message, place)
    if message.refusal and (content is not None or calls):
        raise refuse("the assistant refuses or answers; give 'refusal' or the others, not both.")
    if content is None and not calls:
        if message.role != "assistant":
            raise refuse(f"a message of role {message.role!r} needs 'content'.")
        if message.refusal is None:
            raise refuse("a message of the assistant needs 'content', 'tool_calls' or 'refusal'.")
        content = message.refusal
    called |= {call["id"]: len(called) + k for k, call in enumerate(calls)}
    read: dict[str, Any] = {"role": message.role, "content": content or ""}
    if message.name:
        read["name"] = message.name
    if calls:
        read["tool_calls"] = calls
    if message.role == "function":
        if not message.name:
            raise refuse("a message of role 'function' needs the function's 'name'.")
        read["role"] = "tool"
    if message.role == "tool":
        if message.tool_call_id not in called:
            raise refuse("'tool_call_id' must be the id of a call in an earlier message of the assistant.")
        read["tool_call_id"] = message.tool_call_id
    elif message.tool_call_id is not None:
        raise refuse("'tool_call_id' belongs to messages of role 'tool'.")
    return read


def _read_content(message: Message, place: str) -> str | None:
    if not isinstance(message.content, list):
        return message.content
    texts = []
    for i, part in enumerate(message.content):
        where = f"{place}.content[{i}]"
        if part.type not in ("text", "refusal"):
            raise ApiError(f"{where}: only text can be read, not {part.type!r}.", where, "unsupported_value")
        if part.prompt_cache_breakpoint is not None:
            told = "prefixes are cached implicitly; leave out 'prompt_cache_breakpoint'."
            raise ApiError(f"{where}: {told}", where, "unsupported_value")
        others = part.model_dump(exclude_none=True).keys() - {"type", part.type}
        if others:
            told = f"a part of type {part.type!r} has no {min(others)!r}; leave it out."
            raise ApiError(f"{where}: {told}", where, "invalid_value")
        text = part.text if part.type == "text" else part.refusal
        if text is None:
            raise ApiError(
                f"{where}: a part of type {part.type!r} needs it as field.", where, "invalid_value"
            )
        texts.append(text)
    if not texts:
        raise ApiError(f"{place}: 'content' must not be an empty list.", place, "invalid_value")
    return "\n".join(texts)


def _read_calls(message: Message, place: str) -> list[dict[str, Any]]:
    calls = []
    for i, call in enumerate(message.tool_calls or []):
        if call.type != "function" or call.function is None or call.custom is not None:
            where = f"{place}.tool_calls[{i}]"
            raise ApiError(f"{where}: only calls of functions are known.", where, "unsupported_value")
        calls.append((call.id, call.function))
    if message.function_call is not None:
        calls.append(("", message.function_call))
    return [
        {
            "id": id,
            "type": "function",
            "function": {"name": function.name, "arguments": _object(function.arguments)},
        }
        for id, function in calls
    ]


def _object(arguments: str) -> Any:
    """Templates write arguments as JSON themselves; what is no JSON object stays the text that it is."""
    try:
        found = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return found if isinstance(found, dict) else arguments


def read_tools(body: ChatRequest) -> Tools:
    """The tools, under their newer or older names, and how the choice restricts them."""
    if body.functions is not None and body.tools is not None:
        raise ApiError(
            "'functions' is the older name of 'tools'; give one of them.", "functions", "invalid_value"
        )
    newer, older = ("tool_choice", "parallel_tool_calls"), ("function_call",)
    for given, misfits in (("functions", newer), ("tools", older)):
        for field in misfits:
            if getattr(body, given) is not None and getattr(body, field) is not None:
                message = f"{field!r} does not go with {given!r}; {_INSTEAD[field]}."
                raise ApiError(message, field, "invalid_value")
    if body.functions is not None:
        return _tools(body.functions, body.function_call or "auto", False, True, "function_call")
    if body.function_call not in (None, "none", "auto"):
        raise ApiError("'function_call' needs 'functions'.", "function_call", "invalid_value")
    specs = []
    for tool in body.tools or []:
        if tool.type != "function" or tool.function is None or tool.custom is not None:
            raise ApiError("Only tools of type 'function' are supported.", "tools", "unsupported_value")
        specs.append(tool.function)
    choice, allowed = _choice(body.tool_choice)
    return _tools(specs, choice, body.parallel_tool_calls is not False, False, "tool_choice", allowed)


def _choice(given: str | ToolChoice | None) -> tuple[str | Named, list[str] | None]:
    """How an answer may call functions, and of which the choice is; None: of all."""
    if given is None or isinstance(given, str):
        return given or "auto", None
    named = {name for name in ("function", "custom", "allowed_tools") if getattr(given, name) is not None}
    if named == {"allowed_tools"} == {given.type} and given.allowed_tools is not None:
        return given.allowed_tools.mode, [_allowed_name(tool) for tool in given.allowed_tools.tools]
    if named == {"function"} == {given.type} and given.function is not None:
        return given.function, None
    message = "'tool_choice' must be of type 'function' with it alone, or 'allowed_tools' with them alone."
    raise ApiError(message, "tool_choice", "unsupported_value")


def _allowed_name(tool: dict[str, Any]) -> str:
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        message = 'Each of \'allowed_tools\' must be {"type": "function", "function": {"name": …}}.'
        raise ApiError(message, "tool_choice", "invalid_value")
    return name


def _tools(
    specs: Sequence[FunctionSpec],
    choice: str | Named,
    parallel: bool,
    legacy: bool,
    param: str,
    allowed: Sequence[str] | None = None,
) -> Tools:
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise ApiError(
            "Two functions have the same name.", "functions" if legacy else "tools", "invalid_value"
        )
    wanted = [choice.name] if isinstance(choice, Named) else names if allowed is None else allowed
    unknown = next((name for name in wanted if name not in names), None)
    if unknown is not None or (not wanted and choice == "required"):
        given = f"the function {unknown!r}" if unknown is not None else "any function"
        raise ApiError(f"{param!r} asks for {given}, but it is not given.", param, "invalid_value")
    if choice == "none" or not specs:
        return Tools([], None, legacy)
    described = [
        {"type": "function", "function": spec.model_dump(exclude_none=True, exclude={"strict"})}
        for spec in specs
    ]
    functions = [
        Function(spec.name, spec.parameters, bool(spec.strict)) for spec in specs if spec.name in wanted
    ]
    required = isinstance(choice, Named) or choice == "required"
    calls = Calls(functions, required, parallel and not isinstance(choice, Named)) if functions else None
    return Tools(described, calls, legacy)
