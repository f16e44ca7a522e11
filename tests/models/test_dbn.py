"""The deep belief network: its bound against enumeration, its passes, its folders; the classifier from it."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from torch import Tensor

from bottega.errors import InputError
from bottega.models.abilities import (
    ClassifiesPictures,
    EncodesPictures,
    HasFeatures,
    ReconstructsPictures,
    RunsChains,
    SamplesPictures,
    ScoresPictures,
)
from bottega.models.dbn import DBN, DBNConfig
from bottega.models.dbn_classifier import DBNClassifier, DBNClassifierConfig
from bottega.models.load import load
from bottega.models.rbm import RBM

TINY = DBNConfig(1, 2, 3, layers=(4, 5, 3))


def stack(config: DBNConfig = TINY, seed: int = 0, scale: float = 1.0) -> DBN:
    """Machines with weights that are far from nothing."""
    torch.manual_seed(seed)
    dbn = DBN(config)
    for parameter in dbn.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    return dbn


def all_states(n: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)))


def bernoulli_table(logits: Tensor, states: Tensor) -> Tensor:
    """The probability of each of the states (column) under each row of logits."""
    p = torch.sigmoid(logits.double())
    return (p.log() @ states.double().T + (1 - p).log() @ (1 - states).double().T).exp()


@torch.no_grad()
def true_log_p(dbn: DBN) -> Tensor:
    """log p(v) of all 64 pictures: the top machine by enumeration, and then down layer by layer, exactly."""
    top = dbn.machines[-1]
    states = all_states(top.config.pixels)
    p = torch.softmax(-top.free_energy(states).double(), 0)
    for rbm in dbn.machines[-2::-1]:
        below = all_states(rbm.config.pixels)
        p, states = p @ bernoulli_table(rbm.visible_input(states), below), below
    return p.log()


def test_the_bound_is_below_log_p_and_close_where_layers_hardly_interact() -> None:
    pictures = all_states(6).reshape(-1, 1, 2, 3)
    for scale, gap in [(1.0, 8.0), (0.05, 0.01)]:
        dbn = stack(scale=scale)
        exact = true_log_p(dbn).numpy()
        assert np.exp(exact).sum() == pytest.approx(1)
        bound = dbn.score(pictures, draws=200)
        assert bound.kind == "elbo" and not bound.density
        difference = (exact - bound.nats).mean()
        assert -3 * bound.error - 1e-4 < difference < gap
    # The same estimate by hand, as an expectation over all states of two layers.
    dbn = stack(DBNConfig(1, 2, 3, layers=(4, 5)))
    assert dbn.score(pictures, draws=800).nats == pytest.approx(by_hand(dbn, pictures), abs=0.4)


@torch.no_grad()
def by_hand(dbn: DBN, pictures: Tensor) -> np.ndarray:
    """Σ_h Q(h | v) [log p(v | h) + log p(h) - log Q(h | v)] over all h."""
    low, top = dbn.machines
    v, h = pictures.flatten(1), all_states(4)
    q = bernoulli_table(low.hidden_input(v), h)
    log_v = bernoulli_table(low.visible_input(h), v).log().T
    log_h = torch.log_softmax(-top.free_energy(h).double(), 0)
    return (q * (log_v + log_h - q.log())).sum(1).numpy()


def test_one_machine_alone_is_scored_exactly() -> None:
    dbn = stack(DBNConfig(1, 2, 3, layers=(4,)))
    pictures = all_states(6).reshape(-1, 1, 2, 3)
    assert dbn.score(pictures, draws=2).nats == pytest.approx(true_log_p(dbn).numpy(), abs=1e-4)


def test_samples_come_from_its_distribution() -> None:
    """The means of the pixels over many samples are those of p(v)."""
    dbn = stack(scale=0.7)
    exact = true_log_p(dbn).exp() @ all_states(6).double()
    drawn = dbn.sample(2000, seed=1)
    assert drawn.shape == (2000, 1, 2, 3) and drawn.min() >= 0 and drawn.max() <= 1
    assert drawn.flatten(1).mean(0).numpy() == pytest.approx(exact.numpy(), abs=0.03)
    assert torch.equal(dbn.sample(5, seed=1), dbn.sample(5, seed=1))


def test_a_chain_leaves_its_start_for_the_distribution() -> None:
    dbn = stack(scale=0.7)
    kept = dbn.chain(torch.ones(3000, 1, 2, 3), steps=30, every=10, seed=2)
    assert kept.shape == (4, 3000, 1, 2, 3)
    exact = true_log_p(dbn).exp() @ all_states(6).double()
    assert kept[-1].flatten(1).mean(0).numpy() == pytest.approx(exact.numpy(), abs=0.03)
    assert dbn.chain(7, steps=2, every=1).shape == (3, 7, 1, 2, 3)


def test_codes_and_what_they_mean() -> None:
    dbn, pictures = stack(), torch.rand(9, 1, 2, 3)
    codes = dbn.encode(pictures)
    assert codes.shape == (9, 3)
    assert torch.equal(dbn.reconstruct(pictures), dbn.decode(codes))
    assert dbn.features().shape == (4, 1, 2, 3)
    expected = pictures.flatten(1)
    for rbm in dbn.machines:
        expected = torch.sigmoid(expected @ rbm.weight + rbm.hidden_bias)
    assert torch.allclose(codes, expected)
    kinds = (SamplesPictures, ScoresPictures, EncodesPictures, ReconstructsPictures, HasFeatures, RunsChains)
    assert all(isinstance(dbn, kind) for kind in kinds)


def test_states_are_drawn_layer_by_layer() -> None:
    dbn = stack(DBNConfig(1, 2, 3, layers=(4, 5)))
    one = torch.rand(1, 1, 2, 3).round()
    drawn = dbn.states(one.expand(20000, -1, -1, -1), torch.Generator().manual_seed(0)).mean(0)
    h = all_states(4)
    low, top = dbn.machines
    with torch.no_grad():
        expected = (
            bernoulli_table(low.hidden_input(one.flatten(1)), h) @ torch.sigmoid(top.hidden_input(h)).double()
        )
    assert drawn.numpy() == pytest.approx(expected[0].numpy(), abs=0.015)


def test_folders(tmp_path) -> None:
    dbn = stack()
    dbn.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, DBN) and again.config == TINY
    assert torch.equal(again.chain(3, 9, 3), dbn.chain(3, 9, 3))
    settings = json.loads((tmp_path / "config.json").read_text())
    for wrong in ([], [4, 0], [4, "5"], 4):
        (tmp_path / "config.json").write_text(json.dumps(settings | {"layers": wrong}))
        with pytest.raises(InputError, match=r"layers|n_hidden"):
            load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(settings | {"layers": [4, 5, 6]}))
    with pytest.raises(InputError):
        load(tmp_path)


def test_senseless_input_is_refused() -> None:
    for config in ({"layers": ()}, {"layers": (5, 0)}, {"height": 0}, {"k": 0}):
        with pytest.raises(InputError):
            DBNConfig(**config)
    dbn = stack()
    for wrong in (torch.full((2, 1, 2, 3), torch.nan), torch.zeros(0, 1, 2, 3), torch.zeros(2, 1, 3, 2)):
        for use in (dbn.score, dbn.encode, dbn.reconstruct, dbn.chain, dbn.states):
            with pytest.raises(InputError):
                use(wrong)
    with pytest.raises(InputError, match="zeros and ones"):
        dbn.score(torch.full((2, 1, 2, 3), 0.5))


CLASSES = ("ace", "king", "queen")


def test_the_classifier_begins_as_the_pass_upwards() -> None:
    dbn, pictures = stack(), torch.rand(9, 1, 2, 3)
    model = DBNClassifier.from_dbn(dbn, CLASSES)
    assert torch.allclose(model.embed(pictures), dbn.encode(pictures), atol=1e-6)
    assert torch.allclose(model.features(), dbn.features())
    assert model.predict_proba(pictures) == pytest.approx(np.full((9, 3), 1 / 3))
    assert isinstance(model, ClassifiesPictures) and list(model.classes) == list(CLASSES)
    model.layers[0].weight.data.zero_()
    assert not torch.equal(dbn.machines[0].weight, torch.zeros(6, 4))  # a copy


def test_the_classifiers_loss_and_folder(tmp_path) -> None:
    torch.manual_seed(0)
    model = DBNClassifier(DBNClassifierConfig(1, 2, 3, (4,), CLASSES))
    batch = {"pictures": torch.rand(8, 1, 2, 3), "labels": torch.arange(8) % 3}
    loss = model.loss(batch)
    assert loss.mean.item() == pytest.approx(np.log(3)) and int(loss.count) == 8
    torch.nn.init.normal_(model.head.weight)
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, DBNClassifier) and again.config == model.config
    assert np.array_equal(again.predict_proba(batch["pictures"]), model.predict_proba(batch["pictures"]))


def test_the_classifier_refuses_what_makes_no_sense() -> None:
    with pytest.raises(InputError, match="at least 2 classes"):
        DBNClassifierConfig(classes=("only",))
    with pytest.raises(InputError, match="n_hidden"):
        DBNClassifierConfig(layers=(0,))
    model = DBNClassifier(DBNClassifierConfig(1, 2, 3, (4,), CLASSES))
    with pytest.raises(InputError, match="layers and pictures"):
        model.begin_from(stack())
    for wrong in (torch.full((2, 1, 2, 3), torch.nan), torch.zeros(0, 1, 2, 3), torch.zeros(2, 1, 3, 2)):
        with pytest.raises(InputError):
            model.predict_proba(wrong)


def test_the_stack_shares_its_machines() -> None:
    rbms = [RBM(one) for one in TINY.machine_configs()]
    dbn = DBN.of(rbms[:2])
    assert dbn.machines[1] is rbms[1] and dbn.config.layers == (4, 5)
    assert dbn.sample(2).shape == (2, 1, 2, 3)
