"""`bottega eval --pairs`: translators on pairs that were held out; the verb's own file calls this one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bottega.evaluation.translation import TranslationReport
    from bottega.models.beam_search import BeamConfig
    from bottega.models.translator import Translator


def evaluate_translators(
    models: tuple[str, ...], data: tuple[str, ...], split: str, beam: int, length_penalty: float, json_: bool
) -> None:
    """Print BLEU, chrF, BLEU by length and whose the errors are, of each model."""
    from dataclasses import asdict

    from bottega.data.pairs import read_pairs
    from bottega.models.beam_search import BeamConfig
    from bottega.models.translator import Translator

    for name in models:
        translator = Translator.load(name)
        languages = translator.languages
        pairs = read_pairs(data, *languages, split)
        fitting = pairs.where(translator.fits)
        report = _with_bar(translator, fitting.source, fitting.target, BeamConfig(beam, length_penalty))
        left_out = len(pairs) - len(fitting)
        if json_:
            print(json.dumps({"model": name, "left_out": left_out, **asdict(report)}, ensure_ascii=False))
        else:
            _print(name, report, left_out)


def _with_bar(
    translator: Translator, sources: list[str], references: list[str], config: BeamConfig
) -> TranslationReport:
    from rich.console import Console
    from rich.progress import Progress

    from bottega.evaluation.translation import evaluate

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("translating", total=len(sources))

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return evaluate(translator, sources, references, config, show)


def _print(name: str, report: TranslationReport, left_out: int) -> None:
    print(f"{name}: {report.scores.sentences:,} sentences")
    if left_out:
        print(f"left out, for a side exceeds the context: {left_out:,}")
    for line in report.scores.lines():
        print(line)
    for bucket in report.by_length:
        words = f"{bucket.above + 1}–{bucket.up_to}" if bucket.up_to else f"over {bucket.above}"
        print(f"{words:>8} words  BLEU {bucket.bleu:5.2f}  {bucket.sentences:,} sentences")
    counts = report.errors
    print(
        f"as the reference {counts.same:,}; search errors {counts.search_errors:,} (the model ranks the "
        f"reference higher); what the model prefers {counts.model_errors:,}; cut off {counts.unfinished:,}"
    )
