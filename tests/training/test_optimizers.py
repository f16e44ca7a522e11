"""Muon, AdamW and SGD against their definitions."""

from __future__ import annotations

import pytest
import torch

from bottega.training.config import TrainingConfig
from bottega.training.optimizers import Muon, Optimizer, orthogonalise


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 16, 8), (2, 8, 24)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonalise_keeps_the_singular_vectors_and_levels_the_values(shape, dtype) -> None:
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.linspace(0.1, 1.0, min(shape[1:]))
    result = orthogonalise((u @ torch.diag(values) @ v).to(dtype)).float()
    core = u.mT @ result @ v.mT
    levelled = core.diagonal(dim1=1, dim2=2)
    assert result.dtype == torch.float32 and result.shape == shape
    assert ((levelled > 0.6) & (levelled < 1.3)).all()
    assert (core - torch.diag_embed(levelled)).abs().max() < (1e-4 if dtype == torch.float32 else 0.06)


def one_by_one(
    master: torch.Tensor, gradients: list[torch.Tensor], rate: float, decay: float
) -> torch.Tensor:
    """Jordan et al. (2024), written out for a single matrix."""
    momentum = torch.zeros_like(master)
    for gradient in gradients:
        momentum = 0.95 * momentum + 0.05 * gradient
        nesterov = 0.05 * gradient + 0.95 * momentum
        update = orthogonalise(nesterov[None])[0]
        scale = max(1.0, master.shape[0] / master.shape[1]) ** 0.5
        master = master * (1 - rate * decay) - rate * scale * update
    return master


def test_stacks_of_equal_shapes_do_what_each_matrix_would_alone() -> None:
    torch.manual_seed(0)
    shapes = [(6, 4), (4, 4), (6, 4), (4, 8)]
    masters = [torch.randn(shape) for shape in shapes]
    slots = [torch.zeros(shape) for shape in shapes]
    gradients = [[torch.randn(shape) for _ in range(4)] for shape in shapes]
    expected = [one_by_one(m, g, 0.02, 0.1) for m, g in zip(masters, gradients, strict=True)]
    muon = Muon(list(zip(masters, slots, strict=True)), 0.1, torch.float32)
    for step in range(4):
        for slot, history in zip(slots, gradients, strict=True):
            slot.copy_(history[step])
        muon.step(0.02)
    for mine, theirs in zip(masters, expected, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


def optimizer_of(masters, gradients, matrices, **values) -> Optimizer:
    config = TrainingConfig(steps=1, **values)
    return Optimizer(masters, gradients, matrices, config, torch.float32)


def test_queries_keys_and_values_are_orthogonalised_apart() -> None:
    torch.manual_seed(0)
    fused, gradient = torch.zeros(16, 8), torch.randn(16, 8)
    gradient[:8] *= 1000  # the queries' would drown the others
    optimizer_of({"qkv": fused}, {"qkv": gradient}, {"qkv": (8, 4, 4)}, matrix_learning_rate=1.0).step(1.0)
    for piece in fused.split([8, 4, 4]):
        values = torch.linalg.svdvals(piece)
        assert values.min() > 0.3 and values.max() < 1.3, values


def test_adamw_is_torchs_and_only_matrices_decay() -> None:
    torch.manual_seed(0)
    masters = {"w": torch.randn(3, 4), "b": torch.randn(4)}
    gradients = {name: torch.randn_like(master) for name, master in masters.items()}
    theirs = {name: master.clone().requires_grad_() for name, master in masters.items()}
    reference = torch.optim.AdamW(
        [{"params": [theirs["w"]], "weight_decay": 0.1}, {"params": [theirs["b"]], "weight_decay": 0.0}],
        lr=0.005,
        betas=(0.9, 0.95),
    )
    mine = optimizer_of(masters, gradients, {}, learning_rate=0.01, weight_decay=0.1)
    for _ in range(5):
        for name, parameter in theirs.items():
            parameter.grad = gradients[name].clone()
        reference.step()
        mine.step(0.5)
    for name, parameter in theirs.items():
        assert torch.allclose(parameter, masters[name], atol=1e-6)


@pytest.mark.parametrize("momentum", [0.8, 0.0])
def test_sgd_is_torchs_and_only_matrices_decay(momentum: float) -> None:
    torch.manual_seed(0)
    masters = {"w": torch.randn(3, 4), "b": torch.randn(4)}
    theirs = {name: master.clone() for name, master in masters.items()}
    gradients = {name: torch.zeros_like(master) for name, master in masters.items()}
    reference = torch.optim.SGD(list(theirs.values()), lr=0.05, momentum=momentum)
    values = {"learning_rate": 0.1, "beta1": momentum, "weight_decay": 0.2}
    mine = optimizer_of(masters, gradients, {}, optimizer="sgd", **values)
    for _ in range(5):
        for name, parameter in theirs.items():
            parameter.grad = torch.randn_like(parameter)
            gradients[name].copy_(parameter.grad)
        theirs["w"].mul_(1 - 0.05 * 0.2)
        reference.step()
        mine.step(0.5)
    for name, parameter in theirs.items():
        assert torch.allclose(parameter, masters[name], atol=1e-6)


@pytest.mark.parametrize("optimizer", ["muon", "sgd"])
def test_the_state_comes_back_bit_for_bit(optimizer: str) -> None:
    chosen, matrices = optimizer, {"m": (2, 2)} if optimizer == "muon" else {}

    def fresh():
        torch.manual_seed(0)
        masters = {"m": torch.randn(4, 4), "w": torch.randn(3, 4), "b": torch.randn(4)}
        gradients = {name: torch.randn_like(master) for name, master in masters.items()}
        return masters, optimizer_of(masters, gradients, matrices, optimizer=chosen)

    masters, first = fresh()
    for _ in range(3):
        first.step(1.0)
    state = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    middle = {name: master.clone() for name, master in masters.items()}
    first.step(0.7)
    resumed, second = fresh()
    for name, master in resumed.items():
        master.copy_(middle[name])
    second.load_state_dict(state)
    second.step(0.7)
    assert all(torch.equal(masters[name], resumed[name]) for name in masters)
