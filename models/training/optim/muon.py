"""Muon: momentum steps of matrices, orthogonalised (Jordan 2024).

Matrices of equal shape are processed as one batch. One by one they would take hundreds of products
a step, each too small to use a GPU or a CPU core well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic, steep at 0 and about 1 beyond
ITERATIONS = 5
ELEMENTS = 2**24  # elements of a batch; larger matrices keep a GPU busy on their own


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum, for parameters that are matrices.

    Steps of tall matrices are scaled by ``sqrt(rows / columns)``; weight decay is AdamW's. Equal to
    ``torch.optim.Muon`` up to the rounding of bfloat16.

    Args:
        params: matrices, or groups of them.
        lr: learning rate.
        weight_decay: decoupled weight decay, multiplied by the learning rate.
        momentum: decay of the running mean of gradients.
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
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameters in _batches(group["params"]):
                self._step(parameters, group["lr"], group["weight_decay"], group["momentum"])
        return loss

    def _step(self, parameters: list[Tensor], lr: float, decay: float, momentum: float) -> None:
        """Update matrices of one shape."""
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
    """Approximate the nearest orthogonal matrices by a few Newton-Schulz iterations.

    Singular vectors stay about the same; singular values end between 0.5 and 1.5 unless tiny.

    Args:
        matrices: ``(count, rows, columns)``.

    Returns:
        bfloat16, of the same shape.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.bfloat16()
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        change = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, change, x, beta=a)
    return x.mT if tall else x


def _batches(parameters: list[Tensor]) -> list[list[Tensor]]:
    """Group the parameters that have a gradient by shape, type and device."""
    groups: dict[Any, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            key = (parameter.shape, parameter.dtype, parameter.device)
            groups.setdefault(key, []).append(parameter)
    batches = []
    for members in groups.values():
        size = max(1, ELEMENTS // members[0].numel())
        batches += [members[start : start + size] for start in range(0, len(members), size)]
    return batches
