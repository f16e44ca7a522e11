"""Text between a prompt and a suffix, by models trained to fill in the middle (Bavarian et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bottega.server.completions.reading import Prompt
from bottega.server.errors import ApiError
from bottega.server.served import Served


def surround(prompts: Sequence[Prompt], suffix: str, served: Served, model: str) -> list[Prompt]:
    """The prompts with `suffix` after the gap, as the model reads them: the suffix first.

    Raises `ApiError` where the model was not trained for that.
    """
    fim = served.fill_in_middle
    if fim is None:
        message = f"The model {model!r} was not trained for insertion, so 'suffix' is not supported."
        raise ApiError(message, "suffix", "unsupported_value")
    after = served.tokenizer.encode(suffix)
    around = []
    for prompt in prompts:
        before = prompt.ids if prompt.text else []  # no text: nothing stands before the gap
        ids = fim.prompt(before, after)
        around.append(replace(prompt, ids=ids, shown=slice(len(ids) - len(before), None)))
    return around
