"""Reading the body of a completions request: what its fields mean, and which combinations are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bottega.nn.sampling_params import SamplingParams
from bottega.server.errors import ApiError
from bottega.server.sampling_schema import SamplingFields
from bottega.server.schema import CompletionRequest
from bottega.server.served import Served

Inputs = str | list[str] | list[int] | list[list[int]]


@dataclass(frozen=True)
class Prompt:
    """A prompt as the model reads it and as its client wrote it: an empty one is read as a new document."""

    ids: list[int]
    text: str
    shown: slice = field(default_factory=lambda: slice(None))  # which of the ids are the client's prompt


def check_combinations(body: CompletionRequest) -> None:
    """Refuse what the fields cannot do together."""
    if body.best_of and body.best_of < (body.n or 1):
        raise ApiError(
            f"'best_of' ({body.best_of}) must be at least 'n' ({body.n}).", "best_of", "invalid_value"
        )
    if body.stream and body.best_of is not None and body.best_of > (body.n or 1):
        raise ApiError(
            "The best of several is known only at their end: 'best_of' above 'n' cannot be streamed.",
            "best_of",
            "unsupported_value",
        )
    check_sampling(body)


def check_sampling(body: SamplingFields) -> None:
    """Refuse what the fields that completions and chat share cannot do together."""
    if body.stream_options is not None and not body.stream:
        raise ApiError(
            "'stream_options' is only allowed with 'stream': true.", "stream_options", "invalid_value"
        )
    stops = stop_strings(body)
    if "" in stops or len(stops) > 4:
        raise ApiError("'stop' takes up to four strings, none of them empty.", "stop", "invalid_value")


def stop_strings(body: SamplingFields) -> list[str]:
    """The stop strings, of which one may stand without a list."""
    return [body.stop] if isinstance(body.stop, str) else body.stop or []


def read_prompts(body: CompletionRequest, served: Served) -> list[Prompt]:
    """The prompts as token ids; none begins a new document."""
    if body.prompt == []:
        raise ApiError(
            "'prompt' holds no prompt; give one, or null for a new document.", "prompt", "invalid_value"
        )
    return read_inputs("" if body.prompt is None else body.prompt, served, "prompt")


def read_inputs(given: Inputs, served: Served, param: str) -> list[Prompt]:
    """Texts as token ids, from any of the four forms of the field `param`."""
    if isinstance(given, str):
        return [_read_input(given, served, param)]
    ids = [one for one in given if isinstance(one, int)]
    if ids:  # of one input: the schema does not mix forms
        return [_read_input(ids, served, param)]
    return [_read_input(one, served, param) for one in given if not isinstance(one, int)]


def _read_input(given: str | list[int], served: Served, param: str) -> Prompt:
    if isinstance(given, str):
        return Prompt(served.reads.encode(given) or [served.reads.end_of_text], given)
    if not given:
        raise ApiError(f"A list of token ids in '{param}' must not be empty.", param, "invalid_value")
    for id in (min(given), max(given)):
        check_token(id, served, param)
    return Prompt(given, served.reads.decode(given))


def check_token(id: int, served: Served, param: str) -> None:
    """Refuse an id that the model or its tokenizer does not have."""
    last = min(served.engine.vocab_size, served.reads.vocab_size) - 1
    if not 0 <= id <= last:
        message = f"Token {id} in '{param}' is not in the vocabulary, whose ids run from 0 to {last}."
        raise ApiError(message, param, "invalid_value")


def sampling_params(body: CompletionRequest, served: Served) -> SamplingParams:
    """The sampling fields of a completions request, with OpenAI's defaults."""
    return read_sampling(body, served, 16 if body.max_tokens is None else body.max_tokens, body.logprobs)


def read_sampling(
    body: SamplingFields, served: Served, max_tokens: int | None, logprobs: int | None
) -> SamplingParams:
    """The sampling fields with OpenAI's defaults. Without `max_tokens` the context is the limit."""
    min_tokens = body.min_tokens or 0
    limit = served.engine.context_length if max_tokens is None else max_tokens
    if min_tokens > limit:
        message = f"'min_tokens' ({min_tokens}) must not be above the {limit} tokens that are allowed."
        raise ApiError(message, "min_tokens", "invalid_value")

    def given(value: float | None, default: float) -> float:
        return default if value is None else value

    return SamplingParams(
        temperature=given(body.temperature, 1.0),
        top_k=body.top_k or 0,
        top_p=given(body.top_p, 1.0),
        min_p=given(body.min_p, 0.0),
        repetition_penalty=given(body.repetition_penalty, 1.0),
        presence_penalty=given(body.presence_penalty, 0.0),
        frequency_penalty=given(body.frequency_penalty, 0.0),
        logit_bias=_read_bias(body.logit_bias or {}, served),
        seed=body.seed,
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        ignore_eos=bool(body.ignore_eos),
        logprobs=logprobs,
    )


def _read_bias(given: dict[str, float], served: Served) -> dict[int, int | float]:
    bias: dict[int, int | float] = {}
    for key, value in given.items():
        if not (key.isascii() and key.isdigit()) or len(key) > 18:
            raise ApiError(
                f"'logit_bias' maps token ids to numbers; {key!r} is no id.", "logit_bias", "invalid_value"
            )
        check_token(int(key), served, "logit_bias")
        bias[int(key)] = value
    return bias


def check_context(
    prompts: Sequence[Prompt], params: SamplingParams, served: Served, model: str, param: str = "prompt"
) -> None:
    """Refuse what is longer than the model can read: nothing is cut in silence."""
    context, wanted = served.engine.context_length, params.max_tokens or 0
    longest = max(len(prompt.ids) for prompt in prompts)
    if longest + wanted > context:
        advice = f"shorten '{param}'" + (" or lower max_tokens" if wanted else "")
        raise ApiError(
            f"The context of {model!r} is {context} tokens, but {longest + wanted} were requested "
            f"({longest} to read, {wanted} for the completion); {advice}.",
            param if longest > context else "max_tokens",
            "context_length_exceeded",
        )
