from __future__ import annotations

from bottega.data.labelled import Labelled
from bottega.evaluation.classification import held_out_line
from bottega.models.naive_bayes import NaiveBayes, NaiveBayesConfig


def test_what_is_said_of_held_out_texts() -> None:
    model = NaiveBayes.fit(["good film", "bad film"], ["up", "down"], NaiveBayesConfig())
    assert held_out_line(model, Labelled([], [])) == "none held out, too few texts"
    strangers = Labelled(["a sonnet"], ["poem"])
    assert held_out_line(model, strangers).startswith("its 1 held-out texts have other labels")
    known = Labelled(["good", "bad", "good"], ["up", "down", "down"])
    assert "of 3 held-out texts 66.7% right (66.7%" in held_out_line(model, known)
