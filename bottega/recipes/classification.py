"""Classifiers over word counts, as presets: naive Bayes, and logistic regression with TF-IDF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottega.data.labelled import open_labelled
from bottega.errors import InputError
from bottega.evaluation.classification import held_out_line
from bottega.models.logistic_regression import LogisticRegressionConfig, TfidfRegression
from bottega.models.naive_bayes import NaiveBayes, NaiveBayesConfig
from bottega.recipes.preset import Job, Preset
from bottega.training.events import Listener, Notice

Fit = Callable[[Sequence[str], Sequence[str], Any], NaiveBayes | TfidfRegression]


@dataclass(frozen=True)
class LabelledOptions:
    """Under which names a .jsonl, .tsv or .csv file has its texts and labels."""

    text_field: str = "text"
    label_field: str = "label"


def _job(fit: Fit) -> Job:
    def run(
        shape: Any, data: tuple[str, ...], out: Path, options: LabelledOptions, on_event: Listener | None
    ) -> str:
        """Fit a classifier, write it, and measure it on what was held out."""

        def say(text: str) -> None:
            if on_event is not None:
                on_event(Notice(text))

        training, held_out = open_labelled(data, options.text_field, options.label_field, report=say)
        try:
            model = fit(training.texts, training.labels, shape)
        except InputError as error:
            raise InputError(f"{', '.join(data)}: {error}") from None
        model.save_pretrained(out)
        line = f"{out}: {len(training):,} texts of {len(model.classes)} classes"
        return f"{line}; {held_out_line(model, held_out)}"

    return run


_DATA = "embedded; sst2, trec, rte, cb; or a .jsonl, .tsv or .csv with a text and a label a line"

PRESETS: dict[str, Preset] = {
    "naive-bayes": Preset(
        about="naive Bayes: which class makes these words likely",
        shape=NaiveBayesConfig(),
        training=LabelledOptions(),
        run=_job(NaiveBayes.fit),
        data=_DATA,
        minutes=0.1,
        expected="80.3 % on SST-2's dev part",
    ),
    "logistic-regression": Preset(
        about="logistic regression over TF-IDF",
        shape=LogisticRegressionConfig(),
        training=LabelledOptions(),
        run=_job(TfidfRegression.fit),
        data=_DATA,
        minutes=0.1,
        expected="78.7 % on SST-2's dev part",
    ),
}
