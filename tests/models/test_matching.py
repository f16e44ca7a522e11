"""Which prediction stands for which object: beside all permutations; what no order and no absence changes."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

from bottega.errors import InputError
from bottega.models.boxes import generalised_iou
from bottega.models.matching import SetWeights, match, set_loss

WEIGHTS = SetWeights()
Scene = tuple[Tensor, Tensor, Tensor, Tensor]


def random_scene(seed: int, n: int = 5, queries: int = 5, objects: int = 4, classes: int = 3) -> Scene:
    g = torch.Generator().manual_seed(seed)
    kinds = torch.randint(-1, classes, (n, objects), generator=g)
    kinds[:, 0] = kinds[:, 0].clamp(min=0)
    found, true = (torch.rand(n, k, 4, generator=g) * 0.5 + 0.1 for k in (queries, objects))
    return torch.randn(n, queries, classes + 1, generator=g), found, kinds, true


def cost_of(logits: Tensor, box: Tensor, kind: Tensor, true: Tensor) -> float:
    probability = float(logits.softmax(-1)[kind])
    return float(5 * (box - true).abs().sum() - probability - 2 * generalised_iou(box, true))


@pytest.mark.parametrize("seed", range(4))
def test_no_permutation_is_cheaper(seed: int) -> None:
    logits, boxes, kinds, true = random_scene(seed)
    assigned = match(logits, boxes, kinds, true, WEIGHTS)
    assert ((assigned >= 0) == (kinds >= 0)).all()
    for i in range(len(logits)):
        there = (kinds[i] >= 0).nonzero()[:, 0].tolist()

        def cost(queries: tuple[int, ...], i: int = i, there: list[int] = there) -> float:
            pairs = zip(queries, there, strict=True)
            return sum(cost_of(logits[i, q], boxes[i, q], kinds[i, o], true[i, o]) for q, o in pairs)

        mine = tuple(assigned[i, there].tolist())
        assert len(set(mine)) == len(mine)
        assert cost(mine) == pytest.approx(min(map(cost, permutations(range(5), len(there)))), abs=1e-5)


def test_the_order_of_the_objects_makes_no_difference() -> None:
    logits, boxes, kinds, true = random_scene(5)
    order = torch.tensor([2, 0, 3, 1])
    assigned = match(logits, boxes, kinds, true, WEIGHTS)
    assert (match(logits, boxes, kinds[:, order], true[:, order], WEIGHTS) == assigned[:, order]).all()
    one, other = (
        set_loss(logits, boxes, k, t, WEIGHTS) for k, t in ((kinds, true), (kinds[:, order], true[:, order]))
    )
    for name in one:
        torch.testing.assert_close(one[name], other[name])


def test_the_order_of_the_predictions_makes_no_difference() -> None:
    logits, boxes, kinds, true = random_scene(6)
    order = torch.tensor([4, 2, 0, 1, 3])
    one, other = (
        set_loss(found, where, kinds, true, WEIGHTS)
        for found, where in ((logits, boxes), (logits[:, order], boxes[:, order]))
    )
    for name in one:
        torch.testing.assert_close(one[name], other[name])


def test_where_nothing_stands_all_answers_are_no_object() -> None:
    logits, boxes, kinds, true = random_scene(7)
    kinds = torch.full_like(kinds, -1)
    terms = set_loss(logits, boxes, kinds, true, WEIGHTS)
    torch.testing.assert_close(terms["class"], -0.1 * logits.log_softmax(-1)[..., -1].sum(1))
    assert not terms["l1"].any() and not terms["giou"].any()
    none = set_loss(logits, boxes, kinds[:, :0], true[:, :0], WEIGHTS)  # a batch without places for objects
    torch.testing.assert_close(none["class"], terms["class"])


def test_what_is_found_exactly_costs_nothing() -> None:
    _, _, kinds, true = random_scene(8)
    kinds = kinds.clamp(min=0)
    logits = torch.full((5, 5, 4), -30.0).scatter(
        2, torch.cat([kinds, torch.full((5, 1), 3)], 1)[..., None], 30.0
    )
    terms = set_loss(logits, torch.cat([true, true[:, :1]], 1), kinds, true, WEIGHTS)
    for value in terms.values():
        torch.testing.assert_close(value, torch.zeros(5), atol=1e-5, rtol=0)


def test_more_objects_than_predictions_are_refused() -> None:
    logits, boxes, kinds, true = random_scene(9, queries=3)
    with pytest.raises(InputError, match=r"4 objects, but there are 3 queries"):
        match(logits, boxes, kinds.clamp(min=0), true, WEIGHTS)


def test_predictions_that_are_no_numbers_are_left_to_the_loss() -> None:
    logits, boxes, kinds, true = random_scene(10)
    boxes[0, 0] = float("nan")
    terms = set_loss(logits, boxes, kinds.clamp(min=0), true, WEIGHTS)
    assert torch.isfinite(terms["l1"][1:]).all()
    assert match(logits, boxes * float("nan"), kinds, true, WEIGHTS).max() >= 0
