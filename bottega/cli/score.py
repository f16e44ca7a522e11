"""`bottega score`: the probability of a text, or a ranking of candidate sentences."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName, arg

if TYPE_CHECKING:
    from bottega.evaluation.scoring import LanguageModel, Score
    from bottega.text.tokenizer import Tokenizer

DESCRIPTION = """The probability of a text under a language model; or candidate sentences, likeliest first.

Example: bottega score runs/quickstart "It is easy to recognise speech."
         bottega score runs/quickstart --rerank candidates.txt"""


def main(argv: list[str]) -> None:
    """Parse the arguments, score and print."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_score, args=argv, prog="bottega score", description=DESCRIPTION, config=markers)


def _score(
    model: Positional[str],
    text: Positional[str | None] = None,
    rerank: str | None = None,
    whole: bool = False,
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Score a text, or order candidate sentences.

    Args:
        model: a run, a checkpoint folder or a Hub repository with a language model.
        text: the text, or a file or folder with it; - reads standard input.
        rerank: a file of candidate sentences, one a line, to be ordered; - reads standard input.
        whole: the text is a whole document, so score its end too.
        json_: print one JSON object.
    """
    from bottega.errors import InputError
    from bottega.evaluation.scoring import language_model
    from bottega.models.load import load_tokenizer

    if (text is None) == (rerank is None):
        raise InputError("give a text or file to score, or --rerank FILE; one of the two")
    texts = _candidates(rerank) if rerank is not None else _texts(text or "")
    loaded, tokenizer = language_model(model), load_tokenizer(model)
    if rerank is not None:
        _print_ranking(loaded, tokenizer, texts, whole, json_)
    else:
        _print_score(loaded, tokenizer, texts, whole, json_)


def _print_score(
    model: LanguageModel, tokenizer: Tokenizer, texts: list[str], whole: bool, as_json: bool
) -> None:
    from bottega.evaluation.scoring import Score, score_text

    total = sum((score_text(model, tokenizer, text, whole) for text in texts), start=Score(0.0, 0, 0))
    if as_json:
        print(json.dumps(_as_json(total)))
        return
    print(f"{total.nats:.4f} nats")
    print(f"{total.tokens:,} tokens, perplexity {total.perplexity:.4f} per token")
    print(f"{total.bytes:,} bytes, {total.bits_per_byte:.4f} bits per byte")


def _print_ranking(
    model: LanguageModel, tokenizer: Tokenizer, candidates: list[str], whole: bool, as_json: bool
) -> None:
    from bottega.evaluation.scoring import rerank

    ranking = rerank(model, tokenizer, candidates, whole)
    if as_json:
        print(json.dumps({"ranking": [{"text": t} | _as_json(s) for t, s in ranking]}, ensure_ascii=False))
        return
    for text, score in ranking:
        print(f"{score.nats:12.4f}  {text}")


def _as_json(score: Score) -> dict[str, Any]:
    return {
        "nats": score.nats,
        "tokens": score.tokens,
        "bytes": score.bytes,
        "bits_per_byte": score.bits_per_byte,
        "perplexity": score.perplexity,
    }


def _texts(given: str) -> list[str]:
    """The documents in a file or folder; what is no path is itself the text."""
    from bottega.cli.generate import read_argument
    from bottega.errors import InputError

    if os.path.exists(given):  # noqa: PTH110, a Path raises on a text that is too long for a name
        from bottega.data.documents import read_documents

        texts = [document.text for document in read_documents([given])]
    else:
        texts = [read_argument(given)]
    if not any(texts):
        raise InputError("the text is empty; give one to score")
    return texts


def _candidates(file: str) -> list[str]:
    from bottega.cli.generate import read_argument
    from bottega.errors import InputError

    if file == "-":
        text = read_argument(file)
    else:
        from pathlib import Path

        try:
            text = Path(file).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise InputError(f"{file}: no such file; give one with a candidate a line") from None
        except UnicodeDecodeError as error:
            raise InputError(f"{file}: not UTF-8 text at byte {error.start}; give UTF-8") from None
    candidates = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    if not candidates:
        raise InputError(f"{file}: holds no candidate; give one a line")
    return candidates
