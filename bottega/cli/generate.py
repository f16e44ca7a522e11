"""`bottega generate`: complete a prompt, streaming."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName, arg

if TYPE_CHECKING:
    from bottega.models.gpt import GPT
    from bottega.models.recurrent import RecurrentLM
    from bottega.nn.sampling_params import SamplingParams
    from bottega.server.completions.pieces import Placed
    from bottega.text.tokenizer import Tokenizer

DESCRIPTION = """Complete a prompt; the text appears as it is drawn.

Example: bottega generate runs/quickstart "The list of" --temperature 0.8 --max-tokens 64"""


def main(argv: list[str]) -> None:
    """Parse the arguments, generate and print."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_generate, args=argv, prog="bottega generate", description=DESCRIPTION, config=markers)


def _generate(
    model: Positional[str],
    prompt: Positional[str],
    max_tokens: int | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    presence_penalty: float = 0.0,
    frequency_penalty: float = 0.0,
    logit_bias: tuple[tuple[int, float], ...] = (),
    stop: tuple[str, ...] = (),
    seed: int | None = None,
    n: int = 1,
    logprobs: int | None = None,
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Complete a prompt.

    Args:
        model: a run, a checkpoint folder or a Hub repository.
        prompt: the text to go on from; - reads standard input as it is, an empty one begins a document.
        max_tokens: how many tokens at most; by default as many as fit the context, 1024 where there is none.
        temperature: from 0 (always the likeliest token) to 2.
        top_k: draw among the k likeliest tokens; 0 is all.
        top_p: draw among the likeliest that together have this probability.
        min_p: draw among those at least this fraction as likely as the likeliest.
        repetition_penalty: above 1 makes tokens of the prompt and the output less likely.
        presence_penalty: subtracted from the logits of tokens that the output holds.
        frequency_penalty: subtracted as often as the output holds the token.
        logit_bias: pairs of a token id and what is added to its logit, from -100 to 100.
        stop: texts before which to stop.
        seed: the same seed gives the same text.
        n: how many completions.
        logprobs: with --json, how many alternatives to list with the log-probability of each token.
        json_: print one JSON object.
    """
    from bottega.errors import InputError
    from bottega.nn.sampling_params import SamplingParams

    if n < 1:
        raise InputError(f"--n must be at least 1, not {n}")
    if logprobs is not None and not json_:
        raise InputError("--logprobs is printed with --json only; add it")
    params = SamplingParams(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        logit_bias=dict(logit_bias),
        seed=seed,
        max_tokens=max_tokens,
        logprobs=logprobs,
    ).seeded()
    loaded, tokenizer = _load(model)
    text = read_argument(prompt)
    choices = [_Choice(n == 1 and not json_) for _ in range(n)]
    _run(loaded, tokenizer, text, params, stop, choices)
    if json_:
        found = [choice.as_json(tokenizer, logprobs) for choice in choices]
        print(json.dumps({"prompt": text, "seed": params.seed, "choices": found}, ensure_ascii=False))
    elif n > 1:
        print("\n---\n".join(choice.text for choice in choices))
    else:
        print()


class _Choice:
    """What one completion has given so far; `live` prints it as it comes."""

    def __init__(self, live: bool) -> None:
        self.live, self.text, self.finish_reason = live, "", ""
        self.tokens: list[Placed] = []

    def show(self, text: str) -> None:
        self.text += text
        if self.live:
            sys.stdout.write(text)
            sys.stdout.flush()

    def as_json(self, tokenizer: Tokenizer, n_top: int | None) -> dict[str, Any]:
        from bottega.server.completions.pieces import legacy_logprobs

        found = {"text": self.text, "finish_reason": self.finish_reason, "tokens": len(self.tokens)}
        if n_top is None:
            return found
        return found | {"logprobs": legacy_logprobs(tokenizer, self.tokens, n_top).model_dump()}


def _run(
    model: GPT | RecurrentLM,
    tokenizer: Tokenizer,
    prompt: str,
    params: SamplingParams,
    stop: tuple[str, ...],
    choices: list[_Choice],
) -> None:
    from contextlib import closing

    from bottega.models.generation import stream
    from bottega.server.completions.pieces import Pieces

    end = tokenizer.end_of_text
    texts = [Pieces(tokenizer, stop, len(prompt)) for _ in choices]
    unfinished = set(range(len(choices)))
    with closing(stream(model, [tokenizer.encode(prompt) or [end]], params, end, len(choices))) as steps:
        for i, step in steps:
            if i not in unfinished:
                continue
            piece = texts[i].push(step)
            choices[i].show(piece.text)
            choices[i].tokens += piece.tokens
            if piece.finish_reason is not None:
                choices[i].finish_reason = piece.finish_reason
                unfinished.discard(i)
                if not unfinished:
                    break


def _load(model: str) -> tuple[GPT | RecurrentLM, Tokenizer]:
    from bottega.errors import InputError
    from bottega.models.gpt import GPT
    from bottega.models.load import load, load_tokenizer
    from bottega.models.ngram import NgramModel
    from bottega.models.recurrent import RecurrentLM

    loaded = load(model)
    if isinstance(loaded, NgramModel):
        raise InputError(f"{model} is an n-gram model; draw from it with: bottega ngram sample {model}")
    if not isinstance(loaded, GPT | RecurrentLM):
        raise InputError(f"{model}: a {type(loaded).__name__} does not continue texts; give a language model")
    return loaded.eval(), load_tokenizer(model)


def read_argument(given: str) -> str:
    """A text from the command line, or standard input for `-`; InputError where it is not UTF-8."""
    from bottega.errors import InputError

    # Python keeps bytes of an argument that are no UTF-8 as lone surrogates.
    raw = sys.stdin.buffer.read() if given == "-" else given.encode(errors="surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        where = "standard input" if given == "-" else "the text"
        raise InputError(f"{where} is not UTF-8 at byte {error.start}; give UTF-8") from None
