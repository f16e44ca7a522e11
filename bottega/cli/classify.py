"""`bottega classify`: the label of a text or a picture, with the probability of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, PositionalMetavarFromFieldName, arg

if TYPE_CHECKING:
    from bottega.models.abilities import Classifies, SeesPictures

DESCRIPTION = """The label of each text or picture by a classifier, with its probabilities.

Example: bottega classify runs/nb "A film without a single dull minute."
         bottega classify runs/nb --file reviews.txt --json
         bottega classify runs/cnn digit.png"""

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
    """Classify texts or pictures.

    Args:
        model: a run or the folder of a classifier.
        text: the texts, each an argument of its own; for a classifier of pictures, their files.
        file: a file with a text a line; - reads standard input.
        json_: print one JSON object a text or picture, line by line, with the probabilities of all labels.
    """
    from bottega.cli.generate import read_argument
    from bottega.errors import InputError
    from bottega.models.abilities import SeesPictures
    from bottega.models.load import load

    loaded = load(model)
    if isinstance(loaded, SeesPictures):
        _classify_pictures(model, loaded, text, file, json_)
        return
    classifier = _of_texts(model, loaded)
    if bool(text) == (file is not None):
        raise InputError("give texts, or --file FILE with a text a line; one of the two")
    texts = [read_argument(one) for one in text] if file is None else _lines(file)
    for one, row in zip(texts, classifier.predict_proba(texts).tolist(), strict=True):
        _print("text", one, classifier.classes, row, json_)


def _classify_pictures(
    name: str, model: SeesPictures, files: tuple[str, ...], list_file: str | None, json_: bool
) -> None:
    import numpy as np
    import torch

    from bottega.cli.pictures import lacking
    from bottega.data.pictures import picture_for
    from bottega.errors import InputError
    from bottega.models.abilities import ClassifiesPictures

    if not isinstance(model, ClassifiesPictures):
        raise lacking(name, model, "gives no labels", "a classifier of pictures, such as a cnn")
    if not files or list_file is not None:
        raise InputError(f"{name} sees pictures; give their files, such as: digit.png")
    seen = np.stack([picture_for(Path(file), model.picture_shape) for file in files])
    for file, row in zip(files, model.predict_proba(torch.from_numpy(seen)).tolist(), strict=True):
        _print("file", file, model.classes, row, json_)


def _print(what: str, one: str, classes: Sequence[str], row: list[float], json_: bool) -> None:
    ranked = sorted(zip(classes, row, strict=True), key=lambda pair: -pair[1])
    if json_:
        found = {what: one, "label": ranked[0][0], "probabilities": dict(ranked)}
        print(json.dumps(found, ensure_ascii=False))
    else:
        shares = "  ".join(f"{label} {share:.3f}" for label, share in ranked[:SHOWN])
        print(f"{shares}  | {' '.join(one.split())}")


def load_classifier(name: str) -> Classifies:
    """The classifier of texts in a folder; raises InputError where the model there is none."""
    from bottega.models.load import load

    return _of_texts(name, load(name))


def _of_texts(name: str, model: object) -> Classifies:
    from bottega.errors import InputError
    from bottega.models.abilities import Classifies, SeesPictures

    if isinstance(model, SeesPictures):
        raise InputError(
            f"{name}: a {type(model).__name__} sees pictures, not texts; measure it with: bottega eval "
            f"{name} --pictures DATA"
        )
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
