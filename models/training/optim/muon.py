"""Muon: each step of a matrix is its momentum, made orthogonal (Jordan 2024).

Matrices of equal shape are one batch. One by one they would be hundreds of products a step, each
too small for a GPU, and for a core of a CPU too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of a quintic that is steep at 0 and about 1 from there
ITERATIONS = 5
ELEMENTS = 2**24  # in a batch: larger matrices keep a GPU busy alone


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, for parameters that are matrices.

    Steps of tall matrices are ``sqrt(rows / columns)`` times as long; decay is AdamW's. The same
    as ``torch.optim.Muon`` to the rounding of bfloat16.

    Args:
        params: matrices, or groups of them.
        lr: learning rate.
        weight_decay: of each step, times the learning rate.
        momentum: share of the running mean that stays.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.02,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameters in _batches(group["params"]):
                self._step(parameters, group["lr"], group["weight_decay"], group["momentum"])
        return loss

    def _step(self, parameters: list[Tensor], lr: float, decay: float, momentum: float) -> None:
        """A step of matrices of one shape."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        means = []
        for parameter, gradient in zip(parameters, gradients, strict=True):
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(gradient)
            means.append(state["momentum_buffer"])
        torch._foreach_lerp_(means, gradients, 1 - momentum)
        ahead = torch._foreach_lerp(gradients, means, momentum)
        changes = orthogonal(torch.stack(list(ahead))).to(parameters[0].dtype)
        rows, columns = parameters[0].shape
        torch._foreach_mul_(parameters, 1 - lr * decay)
        alpha = -lr * max(1, rows / columns) ** 0.5
        torch._foreach_add_(parameters, list(changes.unbind()), alpha=alpha)


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices with about the singular vectors of others, and singular values near 1.

    A few Newton-Schulz iterations; singular values end between 0.5 and 1.5 unless they were tiny.

    Args:
        matrices: ``(count, rows, columns)``.

    Returns:
        bfloat16, of the same shape.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    found = matrices.bfloat16()
    found = found.mT if tall else found
    found = found / found.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = found @ found.mT
        change = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        found = torch.baddbmm(found, change, found, beta=a)
    return found.mT if tall else found


def _batches(parameters: list[Tensor]) -> list[list[Tensor]]:
    """The parameters that have a gradient, those that are alike together."""
    alike: dict[Any, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            key = (parameter.shape, parameter.dtype, parameter.device)
            alike.setdefault(key, []).append(parameter)
    found = []
    for members in alike.values():
        size = max(1, ELEMENTS // members[0].numel())
        found += [members[start : start + size] for start in range(0, len(members), size)]
    return found
