"""`bottega classify`: the label of a text, with the probability of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName, arg

if TYPE_CHECKING:
    from bottega.models.abilities import Classifies

DESCRIPTION = """The label of each text by a classifier, with its probabilities.

Example: bottega classify runs/nb "A film without a single dull minute."
         bottega classify runs/nb --file reviews.txt --json"""

SHOWN = 5  # labels a text, the likeliest first


def main(argv: list[str]) -> None:
    """Parse the arguments, classify and print."""
    markers = (FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone)
    tyro.cli(_classify, args=argv, prog="bottega classify", description=DESCRIPTION, config=markers)


def _classify(
    model: Positional[str],
    text: Positional[tuple[str, ...]] = (),
    file: str | None = None,
    json_: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Classify texts.

    Args:
        model: a run or the folder of a classifier.
        text: the texts, each an argument of its own.
        file: a file with a text a line; - reads standard input.
        json_: print one JSON object a text, line by line, with the probabilities of all labels.
    """
    from bottega.cli.generate import read_argument
    from bottega.errors import InputError

    if bool(text) == (file is not None):
        raise InputError("give texts, or --file FILE with a text a line; one of the two")
    texts = [read_argument(one) for one in text] if file is None else _lines(file)
    classifier = load_classifier(model)
    for one, row in zip(texts, classifier.predict_proba(texts).tolist(), strict=True):
        ranked = sorted(zip(classifier.classes, row, strict=True), key=lambda pair: -pair[1])
        if json_:
            found = {"text": one, "label": ranked[0][0], "probabilities": dict(ranked)}
            print(json.dumps(found, ensure_ascii=False))
        else:
            shares = "  ".join(f"{label} {share:.3f}" for label, share in ranked[:SHOWN])
            print(f"{shares}  | {' '.join(one.split())}")


def load_classifier(name: str) -> Classifies:
    """The classifier in a folder; raises InputError where the model there is none."""
    from bottega.errors import InputError
    from bottega.models.abilities import Classifies
    from bottega.models.load import load

    model = load(name)
    if not isinstance(model, Classifies):
        raise InputError(f"{name}: a {type(model).__name__} gives no labels; train a classifier")
    return model


def _lines(file: str) -> list[str]:
    from bottega.cli.generate import read_argument
    from bottega.data.files import read_text
    from bottega.errors import InputError

    if file == "-":
        text = read_argument(file)
    elif Path(file).is_file():
        text = "".join(read_text(Path(file)))
    else:
        raise InputError(f"{file}: no such file; give one with a text a line")
    texts = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    if not texts:
        raise InputError(f"{file}: holds no text; give one a line")
    return texts
