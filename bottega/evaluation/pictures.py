"""How well models of pictures do on pictures that they have not seen: log p in nats, and right labels."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from bottega.data.picture_batches import PictureBatches
from bottega.data.pictures import NO_LABEL, Pictures
from bottega.errors import InputError
from bottega.evaluation.classification import Accuracy
from bottega.models.abilities import ClassifiesPictures, LogLikelihood, ScoresPictures


def log_likelihood(model: ScoresPictures, pictures: Pictures) -> LogLikelihood:
    """Log p of each picture: of grey values where the model has a density of these, else of binary pictures.

    The binary ones are drawn from the grey values, the same way each time, as training draws them anew.
    """
    return model.score(torch.from_numpy(pictures.floats()) if model.scores_density else binary(pictures))


def binary(pictures: Pictures) -> Tensor:
    """Each pixel 1 with its grey value as probability, else 0; always the same draw."""
    rows = len(pictures)
    [batch] = PictureBatches(pictures, rows, binary=True).in_order(rows)
    return batch["pictures"]


def kind_in_words(found: LogLikelihood) -> str:
    """How a log p was come by, and of what it is: `exact, grey values` or `ais, binary pictures`."""
    return f"{found.kind}, {'grey values' if found.density else 'binary pictures'}"


def measure_labels(model: ClassifiesPictures, pictures: Pictures) -> Accuracy:
    """Count the pictures whose likeliest class is their label; a label unknown to the model is a miss.

    Raises InputError where there are no labels, or the model knows none of them.
    """
    labels = [pictures.classes[number] for number in pictures.labels if number != NO_LABEL]
    if not labels:
        raise InputError("the pictures have no labels; give some with subfolders or `labels`, one a class")
    counts = Counter(labels)
    if not counts.keys() & set(model.classes):
        known, given = (", ".join(list(names)[:5]) for names in (model.classes, sorted(counts)))
        raise InputError(f"the labels are {given}, but the model knows {known}; give pictures of its kind")
    labelled = pictures.where(pictures.labels != NO_LABEL)
    chosen = model.predict_proba(torch.from_numpy(labelled.floats())).argmax(1)
    right = sum(model.classes[best] == label for best, label in zip(chosen, labels, strict=True))
    return Accuracy(right, len(labels), counts.most_common(1)[0][1])
