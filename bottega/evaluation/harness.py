"""lm-eval's tasks on a model in this process: what lm-eval asks of a model, over the engine's core.

Prompts are made as lm-eval's `local-completions` makes them for a server: a context and its continuation have
one token less than the context length, and longer ones lose their beginning. So the numbers are those that
lm-eval finds over HTTP, to the digit where the engine is exact.

Reference: Gao et al. 2024 ("The Language Model Evaluation Harness").
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval import simple_evaluate
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from bottega.engine.core import Core
from bottega.engine.request import Request
from bottega.engine.settings import EngineSettings
from bottega.errors import InputError
from bottega.nn.sampling_params import SamplingParams
from bottega.text.stopping import StopStrings
from bottega.text.tokenizer import DecodeStream, Tokenizer

if TYPE_CHECKING:
    from bottega.models.gpt import GPT
    from bottega.nn.steps import Step

_SCORE = SamplingParams(temperature=0, max_tokens=0, logprobs=1)
_SEED = 1234  # lm-eval's own
_MAX_TOKENS = 256  # what lm-eval lets a model write where a task does not say
_RESAMPLES = 1000  # for the standard errors that have no formula
_SAMPLING = {field.name for field in fields(SamplingParams)}

Pair = tuple[list[int], list[int]]  # the ids of a context and of its continuation


class Harness(TemplateLM):  # type: ignore[misc]  # lm-eval has no types
    """A GPT as lm-eval's evaluator wants it. Takes the model over, as the engine does."""

    def __init__(self, model: GPT, tokenizer: Tokenizer, settings: EngineSettings | None = None) -> None:
        super().__init__()
        self._text = tokenizer
        core = Core(model, tokenizer.end_of_text, settings or EngineSettings(), tokenizer.to_json())
        self._core, self.max_length = core, core.context_length - 1

    @property
    def eot_token_id(self) -> int:
        """The id that separates documents; a text without a context follows it."""
        return self._text.end_of_text

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:  # noqa: ARG002
        """The ids of a text; what spells a special token is ordinary text."""
        return self._text.encode(string)

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        return self._score([(context, text) for _, context, text in requests], disable_tqdm)

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-probability of whole texts in nats, each token scored once, in windows where it is long."""
        windows: list[Pair] = []
        counts = []
        for request in requests:
            (text,) = request.args
            found = get_rolling_token_windows(
                self.tok_encode(text), self.prefix_token_id, self.max_length - 1, context_len=1
            )
            before = len(windows)
            windows += map(make_disjoint_window, found)
            counts.append(len(windows) - before)
        nats = iter([score for score, _ in self._score(windows, disable_tqdm)])
        return [sum([next(nats) for _ in range(count)]) for count in counts]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes behind each context until one of the task's stop strings, without it."""
        asked = [self._generation(*request.args) for request in requests]
        texts = [_Text(self._text, stops) for _, stops in asked]
        for i, step in self._run([request for request, _ in asked], "writing", disable_tqdm):
            if texts[i].push(step):
                self._core.abort(i)
        return [text.shown for text in texts]

    def _score(self, pairs: Sequence[Pair], disable_tqdm: bool) -> list[tuple[float, bool]]:
        """The log-probability of each continuation in nats, and whether every token is the likeliest."""
        prompts = [(context + text)[-self.max_length :] for context, text in pairs]
        starts = [len(prompt) - len(text) for prompt, (_, text) in zip(prompts, pairs, strict=True)]
        if starts and min(starts) < 1:
            raise InputError(
                f"a continuation of {self.max_length - min(starts)} tokens does not fit: "
                f"with one token before it at most {self.max_length} do; leave the task out"
            )
        scores: list[tuple[float, bool]] = [(0.0, True)] * len(pairs)
        asked = [Request(prompt, _SCORE, score_prompt=True) for prompt in prompts]
        for i, step in self._run(asked, "scoring", disable_tqdm):
            tokens = step.prompt[starts[i] :]
            nats = [token.logprob for token in tokens if token.logprob is not None]
            scores[i] = sum(nats), all(token.logprob == token.top[0][1] for token in tokens)
        return scores

    def _generation(self, context: str, settings: Mapping[str, Any]) -> tuple[Request, list[str]]:
        """What the engine is asked for, and the stop strings. lm-eval's names of settings are translated."""
        wanted = dict(settings)
        wanted.pop("do_sample", None)
        until = wanted.pop("until", None) or []
        count = int(wanted.pop("max_tokens", wanted.pop("max_gen_toks", _MAX_TOKENS)))
        unknown = wanted.keys() - _SAMPLING
        if unknown:
            raise InputError(f"the task sets {min(unknown)!r}, which this engine does not know")
        room = self.max_length - count
        if room < 1:
            raise InputError(
                f"the task lets a model write {count} tokens, too many for a context of "
                f"{self._core.context_length}; set a smaller max_gen_toks in its generation_kwargs"
            )
        params = SamplingParams(**{"temperature": 0, "seed": _SEED} | wanted | {"max_tokens": count})
        prompt = self.tok_encode(context)[-room:] or [self.eot_token_id]
        stops = [until] if isinstance(until, str) else list(until)
        return Request(prompt, params), [*stops, self._text.decode([self.eot_token_id])]

    def _run(
        self, requests: Collection[Request], verb: str, disable_tqdm: bool
    ) -> Iterator[tuple[int, Step]]:
        """The steps of all requests by their places, until all are finished or aborted."""
        for i, request in enumerate(requests):
            self._core.add(i, request)
        # None: no bar where nobody sees it.
        with tqdm(total=len(requests), desc=verb, disable=disable_tqdm or None) as bar:
            while self._core.has_work:
                yield from self._core.step()
                now = self._core.statistics()
                bar.update(len(requests) - now.running - now.waiting - bar.n)


class _Text:
    """A text as it is written, cut before the first stop string."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]) -> None:
        self._decoder, self._stops, self._ended = DecodeStream(tokenizer), StopStrings(stops), False
        self.shown = ""

    def push(self, step: Step) -> bool:
        """Take the next step; whether the text has ended."""
        if self._ended:
            return True
        text = "" if step.token is None else self._decoder.push(step.token.id)
        if step.finish_reason is not None:
            text += self._decoder.flush()
        self.shown += self._stops.push(text)
        self._ended = step.finish_reason is not None or self._stops.found is not None
        if self._ended:
            self.shown += self._stops.flush()
        return self._ended


@dataclass(frozen=True)
class TaskResult:
    """What lm-eval found of one task or group: its metrics, and those standard errors that it knows."""

    task: str
    shots: int | None  # None for a group of tasks that differ
    samples: int | None
    metrics: dict[str, float]
    errors: dict[str, float]


def evaluate(
    harness: Harness,
    tasks: Sequence[str],
    *,
    shots: int | None = None,
    limit: int | None = None,
    folder: Path | None = None,
) -> list[TaskResult]:
    """Run lm-eval's tasks, those in the YAML files of `folder` among them.

    `shots` examples go before each question, as many as the task says for None; of each task the first
    `limit` samples are asked. Raises InputError where a task does not exist.
    """
    with contextlib.redirect_stdout(sys.stderr):  # lm-eval prints what it does
        found = simple_evaluate(
            harness,
            tasks=list(tasks),
            num_fewshot=shots,
            limit=limit,
            task_manager=_manager(tasks, folder),
            bootstrap_iters=_RESAMPLES,
            log_samples=False,
        )
    return [_result(task, values, found) for task, values in found["results"].items()]


def _manager(tasks: Sequence[str], folder: Path | None) -> TaskManager:
    """An index of tasks that has all that are asked for; lm-eval's own take seconds to read."""
    if folder is not None:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; --include-path names one with YAML files of tasks")
        own = TaskManager(include_path=str(folder), include_defaults=False)
        if all(task in own.all_tasks for task in tasks):
            return own
    manager = TaskManager(include_path=None if folder is None else str(folder))
    for task in tasks:
        if task not in manager.all_tasks:
            raise InputError(f"there is no task {task!r}; `lm-eval ls tasks` lists those of lm-eval")
    return manager


def _result(task: str, values: Mapping[str, Any], found: Mapping[str, Any]) -> TaskResult:
    numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
    metrics: dict[str, float] = {}
    errors: dict[str, float] = {}
    for name, value in numbers.items():
        metric, _, kind = name.partition(",")  # lm-eval's keys are a metric and a filter
        if kind:
            short = metric if kind == "none" else name
            (errors if metric.endswith("_stderr") else metrics)[short.replace("_stderr", "")] = value
    samples = found["n-samples"].get(task, {}).get("effective")
    return TaskResult(task, found["n-shot"].get(task), samples, metrics, errors)
