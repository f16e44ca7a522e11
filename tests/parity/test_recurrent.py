"""The recurrent layers compute what torch's own compute from the same weights: states, ends and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bottega.models.recurrent import CELLS, Cell, Recurrent

TORCH = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def pair(kind: str, n_layer: int = 2, n_in: int = 5, n_hidden: int = 7) -> tuple[Recurrent, nn.Module]:
    """Ours and torch's, with the same weights."""
    torch.manual_seed(1)
    ours, theirs = Recurrent(kind, n_layer, n_in, n_hidden), TORCH[kind](n_in, n_hidden, n_layer)
    state = theirs.state_dict()
    for i, cell in enumerate(ours.cells):
        for name, map in (("ih", cell.input), ("hh", cell.recurrent)):
            state[f"weight_{name}_l{i}"] = map.weight.detach().clone()
            bias = torch.randn(len(map.weight)) * 0.3
            state[f"bias_{name}_l{i}"] = bias if map.bias is not None else torch.zeros_like(bias)
            if map.bias is not None:
                map.bias.data.copy_(bias)
    theirs.load_state_dict(state)
    return ours, theirs


@pytest.mark.parametrize("kind", CELLS)
def test_states_and_gradients_equal_torchs(kind: str) -> None:
    ours, theirs = pair(kind)
    x, y = (torch.randn(11, 3, 5, generator=torch.Generator().manual_seed(2)) for _ in range(2))
    x.requires_grad_(True)
    y.requires_grad_(True)
    state = torch.randn(2, ours.parts, 3, 7)
    begin: Tensor | tuple[Tensor, ...] = tuple(state.unbind(1)) if kind == "lstm" else state[:, 0]
    mine, after = ours(x, state)
    expected, ends = theirs(y, begin)
    torch.testing.assert_close(mine, expected, atol=1e-6, rtol=0)
    ends = torch.stack(ends, 1) if kind == "lstm" else ends[:, None]
    torch.testing.assert_close(after, ends, atol=1e-6, rtol=0)
    (mine.square().sum() + after.sum()).backward()
    (expected.square().sum() + ends.sum()).backward()
    torch.testing.assert_close(x.grad, y.grad, atol=1e-5, rtol=1e-5)
    for i, cell in enumerate(ours.cells):
        for name, map in (("ih", cell.input), ("hh", cell.recurrent)):
            expected = getattr(theirs, f"weight_{name}_l{i}").grad
            torch.testing.assert_close(map.weight.grad, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", CELLS)
def test_the_whole_pass_is_its_steps(kind: str) -> None:
    """The equations one by one are what runs, in torch's compiled loop too."""
    ours, _ = pair(kind, n_layer=1)
    x, state = torch.randn(6, 3, 5), torch.randn(1, ours.parts, 3, 7)
    whole, after = ours(x, state)
    (cell,) = ours.cells
    stepped, end = Cell.forward(cell, x, state[0])
    torch.testing.assert_close(whole, stepped, atol=1e-6, rtol=0)
    torch.testing.assert_close(after[0], end, atol=1e-6, rtol=0)
