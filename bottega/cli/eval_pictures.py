"""`bottega eval --pictures`: models of pictures on pictures held out; the verb's own file calls this one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bottega.data.pictures import Pictures
    from bottega.models.abilities import EmbedsPictures, SeesPictures

SAMPLES = 10_000  # drawn at most for FID and KID, and as many held-out pictures beside them


def evaluate_pictures(
    models: tuple[str, ...], data: str, features: str | None, limit: int | None, json_: bool
) -> None:
    """Print, for each model, what it can be measured by: log p with its kind, accuracy, FID and KID."""
    from rich.console import Console
    from rich.table import Table

    from bottega.cli.pictures import held_out_pictures, load_seeing

    loaded = {name: load_seeing(name) for name in models}
    judge = _judge(features) if features is not None else None
    console, rows = Console(stderr=True), {}
    for name, model in loaded.items():
        with console.status(f"{name}: measuring"):
            pictures = held_out_pictures((data,), model.picture_shape, limit)
            rows[name] = {"model": name, "pictures": len(pictures)} | _measured(name, model, pictures, judge)
        if json_:
            print(json.dumps(rows[name]))
    if json_:
        return
    table = Table("model", "pictures", box=None, pad_edge=False)
    shown = [one for one in _COLUMNS if any(one in row for row in rows.values())]
    for column in shown:
        table.add_column(_COLUMNS[column], justify="left" if column == "kind" else "right")
    for name, row in rows.items():
        table.add_row(name, f"{row['pictures']:,}", *(_cell(column, row) for column in shown))
    Console(width=None if Console().is_terminal else 200).print(table)  # a file has no width
    if judge is not None:
        print(f"\nFID and KID are in the features of {features}, and compare with no others")


_COLUMNS = {
    "nats": "log p, nats",
    "kind": "kind",
    "accuracy": "accuracy",
    "fid": "FID",
    "kid": "KID",
}


def _cell(column: str, row: dict[str, Any]) -> str:
    value = row.get(column)
    if value is None:
        return ""
    if column == "nats":
        return f"{value:.2f}" + (f" ± {row['error']:.2f}" if row["error"] else "")
    if column == "accuracy":
        return f"{value:.2%}"
    if column == "kid":
        return f"{value:.3g} ± {row['kid_error']:.1g}"
    return str(value) if column == "kind" else f"{value:.2f}"


def _measured(
    name: str, model: SeesPictures, pictures: Pictures, judge: EmbedsPictures | None
) -> dict[str, Any]:
    from bottega.cli.pictures import lacking
    from bottega.evaluation.frechet import evaluate_samples
    from bottega.evaluation.pictures import kind_in_words, log_likelihood, measure_labels
    from bottega.models.abilities import ClassifiesPictures, SamplesPictures, ScoresPictures

    found: dict[str, Any] = {}
    if isinstance(model, ScoresPictures):
        nats = log_likelihood(model, pictures)
        found |= {"nats": nats.mean, "kind": kind_in_words(nats), "error": nats.error}
    if isinstance(model, ClassifiesPictures):
        accuracy = measure_labels(model, pictures)
        found |= {"accuracy": accuracy.share, "correct": accuracy.correct, "count": accuracy.count}
    if judge is not None and isinstance(model, SamplesPictures):
        found |= evaluate_samples(model, pictures, judge, SAMPLES)
    if not found:
        more = " without --features" if isinstance(model, SamplesPictures) else ""
        raise lacking(name, model, f"has nothing to measure{more}", "a model with a density, or a classifier")
    return found


def _judge(path: str) -> EmbedsPictures:
    from bottega.cli.pictures import lacking, load_seeing
    from bottega.models.abilities import EmbedsPictures

    model = load_seeing(path)
    if not isinstance(model, EmbedsPictures):
        raise lacking(path, model, "has no features to compare sets by", "a classifier, such as a cnn")
    return model
