"""`bottega translate`: texts, or the lines of a file, in another language."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName, arg

if TYPE_CHECKING:
    from bottega.models.beam_search import BeamConfig, Hypothesis
    from bottega.models.translator import Translator

DESCRIPTION = """Translate texts, the lines of a file, or standard input line by line; blank lines stay blank.

Example: bottega translate runs/translator "A man rides a horse."
         bottega translate runs/translator --file test.en --out test.de --reference references.de"""


def main(argv: list[str]) -> None:
    """Parse the arguments, translate and print."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_translate, args=argv, prog="bottega translate", description=DESCRIPTION, config=markers)


def _translate(
    model: Positional[str],
    text: Positional[tuple[str, ...]] = (),
    file: Path | None = None,
    out: Path | None = None,
    beam: int = 5,
    length_penalty: float = 1.0,
    max_tokens: int = 256,
    n_best: int = 1,
    reference: Path | None = None,
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Translate, one line each.

    Args:
        model: a run or a checkpoint folder of a translator.
        text: what to translate; without text and --file, the lines of standard input.
        file: a file, of which each line is translated.
        out: write the translations to this file, not to the terminal.
        beam: how many hypotheses of each sentence are kept; 1 takes the likeliest token each time.
        length_penalty: the power of its length that a translation's log-probability is divided by.
        max_tokens: the longest translation, in tokens; no more than the model's context.
        n_best: with --json, how many translations to list of each text.
        reference: a file with a right translation of each line; BLEU and chrF go to standard error.
        json_: print one JSON object a line, at the end one with the figures against the reference.
    """
    from bottega.errors import InputError
    from bottega.models.beam_search import BeamConfig
    from bottega.models.translator import Translator

    if n_best > 1 and not json_:
        raise InputError("--n-best is printed with --json only; add it")
    config = BeamConfig(beam, length_penalty, max_tokens, n_best=n_best)
    lines = _read(text, file)
    references = _lines(reference) if reference is not None else []
    if reference is not None and len(references) != len(lines):
        raise InputError(
            f"there are {len(lines):,} lines to translate, but {reference} has {len(references):,}; each "
            "needs its reference on the same line"
        )
    translator = Translator.load(model)
    found = search_with_bar(translator, lines, config)
    translations = [translator.text(each[0]) if each else "" for each in found]
    written = (
        [_as_json(translator, *pair) for pair in zip(lines, found, strict=True)] if json_ else translations
    )
    if reference is not None:
        written += _compare(translations, references, json_)
    _write(written, out)


def search_with_bar(translator: Translator, lines: list[str], config: BeamConfig) -> list[list[Hypothesis]]:
    """Search translations of all lines, with a bar on a terminal's standard error."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("translating", total=len(lines))
        return translator.search(
            lines, config, lambda done, total: bar.update(task, completed=done, total=total)
        )


def _read(texts: tuple[str, ...], file: Path | None) -> list[str]:
    from bottega.errors import InputError

    if texts and file is not None:
        raise InputError("give either texts or --file, not both")
    if file is not None:
        return _lines(file)
    if texts:
        # A text is one line of output, whatever it holds.
        return [" ".join(text.splitlines()) for text in texts]
    try:
        return [line.rstrip("\r\n") for line in sys.stdin]
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: byte 0x{error.object[error.start]:02x} is not UTF-8") from None


def _lines(path: Path) -> list[str]:
    from bottega.data.pairs import text_lines
    from bottega.errors import InputError

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return list(text_lines(path))


def _as_json(translator: Translator, line: str, found: list[Hypothesis]) -> str:
    hypotheses: list[dict[str, Any]] = [
        {
            "text": translator.text(hypothesis),
            "tokens": len(hypothesis.ids),
            "logprob": hypothesis.logprob,
            "score": hypothesis.score,
            "finished": hypothesis.finished,
        }
        for hypothesis in found
    ]
    best = hypotheses[0]["text"] if hypotheses else ""
    return json.dumps({"source": line, "translation": best, "hypotheses": hypotheses}, ensure_ascii=False)


def _compare(translations: list[str], references: list[str], json_: bool) -> list[str]:
    """The figures against the references: a line for the output with `json_`, else on standard error."""
    from dataclasses import asdict

    from bottega.evaluation.translation import corpus_scores

    scores = corpus_scores(translations, references)
    if json_:
        return [json.dumps(asdict(scores))]
    for line in scores.lines():
        print(line, file=sys.stderr)
    return []


def _write(lines: list[str], out: Path | None) -> None:
    if out is None:
        for line in lines:
            print(line)
        return
    from bottega.data.disk import atomic_file

    with atomic_file(out) as stream:
        stream.write("".join(f"{line}\n" for line in lines).encode())
