"""`bottega eval`: how well models predict held-out texts or pictures, or answer lm-eval's tasks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName, arg

if TYPE_CHECKING:
    from bottega.data.documents import Document
    from bottega.evaluation.harness import TaskResult
    from bottega.evaluation.scoring import LanguageModel, Score
    from bottega.text.tokenizer import Tokenizer

DESCRIPTION = """Bits per byte of one or more models on the same text, the ends of its documents counted;
or their results in tasks of lm-eval; or how often classifiers are right on labelled texts; or
BLEU of translators on held-out pairs; or log p, accuracy, FID and KID of models of pictures.

Example: bottega eval runs/quickstart runs/longer --data heldout.txt
         bottega eval runs/quickstart --data heldout.txt --fim
         bottega eval runs/quickstart --tasks lambada_openai,piqa --limit 100
         bottega eval runs/naive-bayes runs/regression --labelled sst2
         bottega eval runs/translator --pairs multi30k
         bottega eval runs/vae runs/rbm --pictures mnist --features runs/cnn"""


def main(argv: list[str]) -> None:
    """Parse the arguments, evaluate and print."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_eval, args=argv, prog="bottega eval", description=DESCRIPTION, config=markers)


def _eval(
    models: Positional[tuple[str, ...]],
    data: tuple[str, ...] = (),
    text_field: str | None = None,
    fim: bool = False,
    tasks: tuple[str, ...] = (),
    labelled: str | None = None,
    pairs: tuple[str, ...] = (),
    pictures: str | None = None,
    features: str | None = None,
    split: Literal["val", "test"] | None = None,
    beam: int | None = None,
    length_penalty: float | None = None,
    shots: int | None = None,
    include_path: Path | None = None,
    limit: int | None = None,
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Evaluate models on a text that they have not seen, or in tasks.

    Args:
        models: runs, checkpoint folders or Hub repositories; language models of any kind.
        data: files, folders or data sets of the catalog.
        text_field: with --data, the field of .jsonl and .parquet that holds the text; text if not given.
        fim: score middles instead, of several lengths, with the suffix that follows them and without.
        tasks: names of lm-eval's tasks, with commas or spaces between them; needs the package lm-eval.
        labelled: sst2, trec, rte, cb or embedded, whose held-out part classifiers are measured on; or a
            .jsonl, .tsv or .csv file with a text and a label a line, all of it.
        pairs: sources of pairs, such as multi30k, whose held-out split translators are measured on.
        pictures: embedded, mnist, a .npz file or a folder of pictures, whose held-out part models of
            pictures are measured on.
        features: with --pictures, a classifier of pictures in whose features samples are compared with what
            was held out, by FID and KID.
        split: with --pairs, val or test; test if not given.
        beam: with --pairs, how many hypotheses the search keeps; 5 if not given.
        length_penalty: with --pairs, the power of the length that log-probabilities are divided by; 1 if not
            given.
        shots: with --tasks, how many examples go before each question; as the task says by default.
        include_path: with --tasks, a folder with YAML files of further tasks.
        limit: with --tasks, ask only the first so many samples of each; with --pictures, the first so many.
        json_: print one JSON object a model, line by line; one a length with --fim, one a task with --tasks.
    """
    from bottega.errors import InputError

    if not models:
        raise InputError("name at least one model, such as: bottega eval runs/quickstart --data heldout.txt")
    if [bool(data), bool(tasks), labelled is not None, bool(pairs), pictures is not None].count(True) != 1:
        raise InputError(
            "give one of --data with a text, --tasks with names of tasks, --labelled, --pairs, --pictures"
        )
    if fim and not data:
        raise InputError("--fim goes with --data alone")
    if features is not None and pictures is None:
        raise InputError("--features goes with --pictures")
    if text_field is not None and not data:
        raise InputError("--text-field goes with --data")
    if (split, beam, length_penalty) != (None, None, None) and not pairs:
        raise InputError("--split, --beam and --length-penalty go with --pairs")
    if tasks:
        _run_tasks(models, tasks, shots, limit, include_path, json_)
        return
    if (shots, include_path) != (None, None) or (limit is not None and pictures is None):
        raise InputError("--shots, --limit and --include-path go with --tasks, --limit with --pictures too")
    if pictures is not None:
        from bottega.cli.eval_pictures import evaluate_pictures

        evaluate_pictures(models, pictures, features, _at_least("limit", limit, 1), json_)
        return
    if labelled is not None:
        _classify(models, labelled, json_)
        return
    if pairs:
        from bottega.cli.eval_pairs import evaluate_translators

        search = 5 if beam is None else beam, 1.0 if length_penalty is None else length_penalty
        evaluate_translators(models, pairs, split or "test", *search, json_)
        return
    if fim:
        _fill_in(models, data, text_field or "text", json_)
    else:
        _predict(models, data, text_field or "text", json_)


def _predict(models: tuple[str, ...], data: tuple[str, ...], text_field: str, json_: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from bottega.data.documents import read_documents
    from bottega.evaluation.scoring import language_model
    from bottega.models.load import load_tokenizer

    loaded = {name: (language_model(name), load_tokenizer(name)) for name in models}
    documents = list(read_documents(data, text_field))
    scores = {name: _score(name, *one, documents) for name, one in loaded.items()}
    if json_:
        for model, score in scores.items():
            values = {"bits_per_byte": score.bits_per_byte, "perplexity": score.perplexity}
            print(json.dumps({"model": model, **values, "tokens": score.tokens, "bytes": score.bytes}))
        return
    table = Table("model", "bits per byte", "perplexity a token", "tokens", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for model, score in sorted(scores.items(), key=lambda pair: pair[1].bits_per_byte):
        table.add_row(model, f"{score.bits_per_byte:.4f}", f"{score.perplexity:,.2f}", f"{score.tokens:,}")
    console = Console()
    console.print(table)
    console.print(f"\n{len(documents):,} documents, {next(iter(scores.values())).bytes:,} bytes")


def _score(name: str, model: LanguageModel, tokenizer: Tokenizer, documents: list[Document]) -> Score:
    from rich.console import Console
    from rich.progress import track

    from bottega.evaluation.scoring import Score, score_text

    console = Console(stderr=True)
    total = Score(0.0, 0, 0)
    for document in track(documents, name, console=console, transient=True, disable=not console.is_terminal):
        total += score_text(model, tokenizer, document.text, whole=True)
    return total


def _classify(models: tuple[str, ...], data: str, json_: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from bottega.cli.classify import load_classifier
    from bottega.data.labelled import held_out_labelled
    from bottega.evaluation.classification import measure_accuracy

    classifiers = {name: load_classifier(name) for name in models}
    examples = held_out_labelled(data, report=Console(stderr=True).print)
    table = Table("model", "accuracy", "right", "texts", "commonest label", box=None, pad_edge=False)
    for name, model in classifiers.items():
        found = measure_accuracy(model, examples)
        if json_:
            values = {"accuracy": found.share, "correct": found.correct, "count": found.count}
            print(json.dumps({"model": name, **values, "commonest_label": found.baseline}))
        shares = f"{found.share:.1%}", f"{found.correct:,}", f"{found.count:,}", f"{found.baseline:.1%}"
        table.add_row(name, *shares)
    if not json_:
        Console().print(table)


def _fill_in(models: tuple[str, ...], data: tuple[str, ...], text_field: str, json_: bool) -> None:
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from bottega.data.documents import read_documents
    from bottega.errors import InputError
    from bottega.evaluation.insertion import score_middles
    from bottega.models.gpt import GPT
    from bottega.models.load import load, load_tokenizer

    loaded = {}
    for name in models:
        loaded[name] = load(name), load_tokenizer(name)
        if not isinstance(loaded[name][0], GPT):
            raise InputError(f"{name}: only a GPT can fill in the middle")
    texts = [document.text for document in read_documents(data, text_field)]
    columns = ("model", "characters", "bits per byte", "without the suffix", "saved")
    table = Table(*columns, box=None, pad_edge=False)
    for name, (model, tokenizer) in loaded.items():
        for score in score_middles(model, tokenizer, texts):
            if json_:
                print(json.dumps({"model": name, **asdict(score)}))
            bits = f"{score.with_suffix:.4f}", f"{score.without_suffix:.4f}", f"{score.saving:.1%}"
            table.add_row(name, str(score.characters), *bits)
    if not json_:
        Console().print(table)


def _run_tasks(
    models: tuple[str, ...],
    tasks: tuple[str, ...],
    shots: int | None,
    limit: int | None,
    folder: Path | None,
    json_: bool,
) -> None:
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    _at_least("shots", shots, 0)
    _at_least("limit", limit, 1)
    names = [name for group in tasks for name in group.split(",") if name]
    columns = ("model", "task", "shots", "samples", "metric", "value")
    table = Table(*columns, box=None, pad_edge=False)
    for model in models:
        for result in _evaluate(model, names, shots, limit, folder):
            if json_:
                print(json.dumps({"model": model, **asdict(result)}))
            numbers = ["" if number is None else f"{number:,}" for number in (result.shots, result.samples)]
            for metric, value in result.metrics.items():
                error = f" ± {result.errors[metric]:.4f}" if metric in result.errors else ""
                table.add_row(model, result.task, *numbers, metric, f"{value:.4f}{error}")
    if not json_:
        Console().print(table)


def _at_least(name: str, count: int | None, low: int) -> int | None:
    from bottega.errors import InputError

    if count is not None and count < low:
        raise InputError(f"--{name} must be at least {low}, not {count}")
    return count


def _evaluate(
    model: str, tasks: list[str], shots: int | None, limit: int | None, folder: Path | None
) -> list[TaskResult]:
    from bottega.errors import InputError
    from bottega.models.gpt import GPT
    from bottega.models.load import load, load_tokenizer

    # Else lm-eval starts a process for every core to estimate one standard error.
    os.environ.setdefault("DISABLE_MULTIPROC", "1")
    try:
        from bottega.evaluation.harness import Harness, evaluate
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("bottega"):
            raise
        raise InputError("--tasks needs the package lm-eval; try: pip install 'bottega[eval]'") from None
    loaded = load(model)
    if not isinstance(loaded, GPT):
        raise InputError(f"{model}: lm-eval's tasks need a GPT; score other models on a text with --data")
    harness = Harness(loaded, load_tokenizer(model))
    return evaluate(harness, tasks, shots=shots, limit=limit, folder=folder)
