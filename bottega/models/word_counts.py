"""What classifiers over word counts share: terms from texts, labels checked, folders written and read.

Without torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bottega.data.disk import atomic_file, disk_errors, write_json
from bottega.errors import InputError

WORD = r"(?u)\b\w+\b"  # one letter is a word too
_TERMS = "terms"

Config = TypeVar("Config")


@dataclass(frozen=True)
class TermsConfig:
    """Which terms of the texts are counted: `ngrams` is the most words of a term."""

    ngrams: int = 1
    min_documents: int = 1

    def __post_init__(self) -> None:
        if self.ngrams < 1 or self.min_documents < 1:
            raise InputError(
                f"a term needs at least one word and one document, not {self.ngrams} and {self.min_documents}"
            )


def vectorizer_options(config: TermsConfig) -> dict[str, Any]:
    """The arguments of scikit-learn's vectorizers that count the terms of `config`."""
    return {
        "token_pattern": WORD,
        "ngram_range": (1, config.ngrams),
        "min_df": config.min_documents,
        "strip_accents": None,
    }


def check_examples(texts: Sequence[str], labels: Sequence[str]) -> None:
    """Raise InputError unless there are as many labels as texts, and at least two classes."""
    if len(texts) != len(labels):
        raise InputError(f"{len(texts):,} texts with {len(labels):,} labels; give one label to each text")
    if not labels:
        raise InputError("there is nothing to learn from: no text is given")
    if len(classes := set(labels)) == 1:
        raise InputError(
            f"all {len(labels):,} texts are labelled {classes.pop()!r}; a classifier needs two classes"
        )


@contextlib.contextmanager
def some_term(config: TermsConfig) -> Iterator[None]:
    """Turn scikit-learn's error about an empty vocabulary into an InputError."""
    try:
        yield
    except ValueError as error:
        if not any(words in str(error) for words in ("empty vocabulary", "no terms remain", "max_df")):
            raise
        raise InputError(
            f"no word stands in {config.min_documents} or more texts; give other texts, or a lower "
            "min_documents"
        ) from None


def save_folder(
    folder: str | Path, kind: str, config: Any, classes: Sequence[str], terms: Sequence[str], **arrays: Any
) -> None:
    """Write config.json with the classes, and model.safetensors with the terms and the arrays.

    Raises InputError where the folder is a file or holds another kind of model, WorkError where the disk is
    full.
    """
    from safetensors.numpy import save

    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder for the model; name another")
    if (folder / "config.json").exists() and _read_kind(folder / "config.json") != kind:
        raise InputError(f"{folder} holds another kind of model; name another folder")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    # No term holds a line's end, so one string keeps them all.
    packed = np.frombuffer("\n".join(terms).encode(), dtype=np.uint8)
    tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with atomic_file(folder / "model.safetensors") as file:
        file.write(save({_TERMS: packed, **tensors}))
    write_json(folder / "config.json", {"model_type": kind, **asdict(config), "classes": list(classes)})


def load_folder(
    folder: str | Path, kind: str, config_class: type[Config], shapes: Mapping[str, tuple[str, ...]]
) -> tuple[Config, list[str], list[str], dict[str, np.ndarray]]:
    """Read what `save_folder` wrote: the configuration, the classes, the terms and the arrays.

    `shapes` says of each array how many it holds: `("class", "term")`. Raises InputError where the folder
    holds another kind of model, or anything in it is missing, of another shape, or not finite.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    config, classes = _read_config(folder / "config.json", kind, config_class)
    path = folder / "model.safetensors"
    try:
        tensors = load_file(path)
        terms = tensors.pop(_TERMS).tobytes().decode().split("\n")
        if len(set(terms)) != len(terms):
            raise ValueError("a term stands in it twice")
        sizes = {"class": len(classes), "term": len(terms), "row": 1 if len(classes) == 2 else len(classes)}
        for name, axes in shapes.items():
            expected = tuple(sizes[axis] for axis in axes)
            array = tensors[name]
            if array.shape != expected or array.dtype != np.float64 or not np.isfinite(array).all():
                raise ValueError(f"{name} is not {expected} finite numbers")
    except FileNotFoundError:
        raise InputError(f"{folder} has no model.safetensors; train the model again") from None
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path} is damaged ({str(error).splitlines()[0]}); train the model again") from None
    return config, classes, terms, {name: tensors[name] for name in shapes}


def _read_kind(path: Path) -> object:
    from bottega.interop.locate import read_json

    return read_json(path).get("model_type")


def _read_config(path: Path, kind: str, config_class: type[Config]) -> tuple[Config, list[str]]:
    from bottega.interop.locate import read_json

    values = read_json(path)
    if (found := values.pop("model_type", None)) != kind:
        raise InputError(f"{path}: model_type is {found!r}, expected {kind!r}")
    classes = values.pop("classes", None)
    strings = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if not strings or len(set(classes)) != len(classes) or len(classes) < 2:
        raise InputError(f"{path}: classes is {classes!r}; expected two or more different names")
    try:
        return config_class(**values), classes
    except (TypeError, InputError) as error:
        raise InputError(f"{path} is damaged ({error}); train the model again") from None
