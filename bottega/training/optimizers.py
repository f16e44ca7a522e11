"""Muon for the hidden matrices with AdamW for all else, or plain SGD, on fp32 masters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from bottega.training.config import TrainingConfig

MOMENTUM = 0.95
# The quintic's coefficients (Jordan et al. 2024): steepest at zero; singular values end between about 0.7 and
# 1.2.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


def orthogonalise(gradient: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """Push the singular values of each matrix of the stack towards one, in the stack's own precision.

    Five quintic Newton–Schulz steps (Jordan et al. 2024, "Muon: an optimizer for hidden layers").
    """
    a, b, c = COEFFICIENTS
    tall = gradient.shape[1] > gradient.shape[2]
    x = gradient.mT.contiguous() if tall else gradient
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if tall else x


class Muon:
    """Momentum (Nesterov, 0.95), orthogonalised; matrices of one shape go through as one stack.

    `matrices` are pairs of an fp32 master and its gradient, both rows × columns and updated in place. The
    update is scaled by √max(1, rows/columns) (Jordan et al. 2024), so that one rate serves every shape.
    """

    def __init__(
        self, matrices: Sequence[tuple[Tensor, Tensor]], weight_decay: float, dtype: torch.dtype
    ) -> None:
        self.weight_decay, self.dtype = weight_decay, dtype
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
        for master, gradient in matrices:
            alike.setdefault(master.shape, []).append((master, gradient))
        self.stacks: dict[str, tuple[list[Tensor], list[Tensor], Tensor]] = {}
        for (rows, columns), pairs in alike.items():
            masters, gradients = (list(tensors) for tensors in zip(*pairs, strict=True))
            momentum = torch.zeros(len(pairs), rows, columns, device=masters[0].device)
            self.stacks[f"{rows}x{columns}"] = (masters, gradients, momentum)

    def step(self, learning_rate: float) -> None:
        """Update the masters from the gradients as they stand."""
        for masters, gradients, momentum in self.stacks.values():
            gradient = torch.stack(gradients)
            momentum.lerp_(gradient, 1 - MOMENTUM)
            update = orthogonalise(gradient.lerp_(momentum, MOMENTUM).to(self.dtype)).float()
            rows, columns = masters[0].shape
            scale = max(1.0, rows / columns) ** 0.5
            torch._foreach_mul_(masters, 1 - learning_rate * self.weight_decay)
            torch._foreach_add_(masters, update.unbind(), alpha=-learning_rate * scale)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the momentum of each stack, under its shape."""
        return {shape: momentum for shape, (_, _, momentum) in self.stacks.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy the momentum back."""
        for shape, (_, _, momentum) in self.stacks.items():
            momentum.copy_(state[shape])


class SGD:
    """Stochastic gradient descent with momentum (Polyak 1964): m ← βm + g, parameter ← parameter - rate · m.

    A gradient that stays the same moves 1 / (1 - β) times the rate a step; with β = 0 there is no momentum to
    keep. `parameters` and `gradients` are fp32 tensors by name; parameters are updated in place. Matrices
    decay, vectors do not.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        momentum: float,
        weight_decay: float,
    ) -> None:
        self.parameters, self.gradients = parameters, [gradients[name] for name in parameters]
        self.matrices = [parameter for parameter in parameters.values() if parameter.dim() >= 2]
        self.beta, self.weight_decay = momentum, weight_decay
        kept = parameters if momentum else {}
        self.momentum = {name: torch.zeros_like(parameter) for name, parameter in kept.items()}

    def step(self, learning_rate: float) -> None:
        """Update the parameters from the gradients as they stand."""
        steps = self.gradients
        if self.momentum:
            steps = list(self.momentum.values())
            torch._foreach_mul_(steps, self.beta)
            torch._foreach_add_(steps, self.gradients)
        if self.matrices and self.weight_decay:
            torch._foreach_mul_(self.matrices, 1 - learning_rate * self.weight_decay)
        torch._foreach_add_(list(self.parameters.values()), steps, alpha=-learning_rate)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the momentum of each parameter, under its name."""
        return dict(self.momentum)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy the momentum back."""
        for name, momentum in self.momentum.items():
            momentum.copy_(state[name])


class Optimizer:
    """What the configuration names, for the parameters of one `ctx.optimize`: Muon with AdamW, AdamW, or SGD.

    `masters` and `gradients` are fp32 tensors by name; `matrices` gives, for those that Muon takes, the
    rows of the maps that each stacks (queries, keys and values in one matrix are three maps, orthogonalised
    apart).
    """

    def __init__(
        self,
        masters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        matrices: Mapping[str, tuple[int, ...]],
        config: TrainingConfig,
        dtype: torch.dtype,
    ) -> None:
        self.rates = (config.learning_rate, config.matrix_learning_rate)
        pieces: list[tuple[Tensor, Tensor]] = []
        for name, rows in matrices.items():
            pieces += zip(
                masters[name].split_with_sizes(rows), gradients[name].split_with_sizes(rows), strict=True
            )
        self.muon = Muon(pieces, config.weight_decay, dtype)
        self.parameters = {name: master for name, master in masters.items() if name not in matrices}
        self.gradients = gradients
        rest = self.parameters.values()
        groups = [
            {"params": [p for p in rest if p.dim() >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        betas = (config.beta1, config.beta2)
        self.sgd: SGD | None = None
        self.adamw: torch.optim.AdamW | None = None
        if config.optimizer == "sgd":
            self.sgd = SGD(self.parameters, gradients, config.beta1, config.weight_decay)
        elif groups:
            self.adamw = torch.optim.AdamW(groups, lr=self.rates[0], betas=betas, fused=True)

    def step(self, multiplier: float) -> None:
        """Update the masters, with `multiplier` times the peak rates."""
        if self.adamw is not None:
            for group in self.adamw.param_groups:
                group["lr"] = self.rates[0] * multiplier
            for name, parameter in self.parameters.items():
                parameter.grad = self.gradients[name]
            self.adamw.step()
        if self.sgd is not None:
            self.sgd.step(self.rates[0] * multiplier)
        self.muon.step(self.rates[1] * multiplier)

    def state_dict(self) -> dict[str, Tensor]:
        """Return every tensor of the state under a flat name."""
        state = {f"muon/{shape}": tensor for shape, tensor in self.muon.state_dict().items()}
        if self.adamw is not None:
            for name, parameter in self.parameters.items():
                for key, tensor in self.adamw.state[parameter].items():
                    state[f"adamw/{name}/{key}"] = tensor
        if self.sgd is not None:
            state |= {f"sgd/{name}": tensor for name, tensor in self.sgd.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        self.muon.load_state_dict({shape: state[f"muon/{shape}"] for shape in self.muon.stacks})
        if self.sgd is not None:
            self.sgd.load_state_dict({name: state[f"sgd/{name}"] for name in self.parameters})
        for key, tensor in state.items():
            kind, _, rest = key.partition("/")
            if kind == "adamw" and self.adamw is not None:
                name, _, field = rest.rpartition("/")
                parameter = self.parameters[name]
                self.adamw.state[parameter][field] = tensor.to(parameter.device)
