"""Log p of the pictures that a model means, and labels counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bottega.data.pictures import NO_LABEL, Pictures
from bottega.errors import InputError
from bottega.evaluation.pictures import binary, kind_in_words, log_likelihood, measure_labels
from bottega.models.cnn import CNN, CNNConfig
from bottega.models.mixture import Mixture, MixtureConfig
from bottega.models.rbm import RBM, RBMConfig

SMALL = {"channels": 1, "height": 4, "width": 4}


@pytest.fixture
def pictures() -> Pictures:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 1, 4, 4), np.uint8)
    return Pictures(pixels, rng.integers(0, 3, 60), ("a", "b", "c"))


def test_binary_pictures_have_the_grey_values_as_their_mean_and_stay_the_same(pictures: Pictures) -> None:
    drawn = binary(pictures)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(drawn, binary(pictures))
    grey = Pictures(np.full((4000, 1, 4, 4), 64, np.uint8), np.zeros(4000, np.int64))
    assert float(binary(grey).mean()) == pytest.approx(64 / 255, abs=0.01)


def test_a_density_is_asked_for_grey_values_and_a_probability_for_binary_ones(pictures: Pictures) -> None:
    mixture = Mixture.fit(
        torch.from_numpy(pictures.floats()), MixtureConfig(**SMALL, n_components=2, n_dimensions=3)
    )
    found = log_likelihood(mixture, pictures)
    assert np.array_equal(found.nats, mixture.score(torch.from_numpy(pictures.floats())).nats)
    assert kind_in_words(found) == "exact, grey values"
    torch.manual_seed(0)
    rbm = RBM(RBMConfig(**SMALL, n_hidden=3)).eval()
    found = log_likelihood(rbm, pictures)
    assert np.allclose(found.nats, rbm.score(binary(pictures)).nats)
    assert kind_in_words(found) == "exact, binary pictures" and found.mean < 0


def test_right_labels_are_counted_and_unlabelled_pictures_left_out(pictures: Pictures) -> None:
    torch.manual_seed(0)
    model = CNN(CNNConfig(**SMALL, classes=("a", "b", "c"), filters=2, n_embd=4)).eval()
    torch.nn.init.normal_(model.head.weight)
    guesses = model.predict_proba(torch.from_numpy(pictures.floats())).argmax(1)
    found = measure_labels(model, pictures)
    assert (found.correct, found.count) == ((guesses == pictures.labels).sum(), 60)
    labels = pictures.labels.copy()
    labels[:20] = NO_LABEL
    fewer = measure_labels(model, replace(pictures, labels=labels))
    assert (fewer.correct, fewer.count) == ((guesses == pictures.labels)[20:].sum(), 40)
    with pytest.raises(InputError, match="have no labels"):
        measure_labels(model, replace(pictures, labels=np.full(60, NO_LABEL)))
    with pytest.raises(InputError, match="the labels are x, y, z, but the model knows a, b, c"):
        measure_labels(model, replace(pictures, classes=("x", "y", "z")))
