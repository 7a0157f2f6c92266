"""Decomposition of a layer's contribution into attention and MLP.

There is no table of architectures. The forwards of a layer's children are recorded, and a
decomposition is accepted only if input and contributions add up to the layer's output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Sublayers(NamedTuple):
    """Contributions to a layer's input ``h``: its output is ``h + attention + mlp``.

    Args:
        attention, mlp: ``(batch, tokens, dim)``, after post-norms and multipliers.
        parallel: whether the MLP reads ``h`` instead of ``h + attention``.
    """

    attention: Tensor
    mlp: Tensor
    parallel: bool


@dataclass
class ChildCall:
    """Recorded forward of a direct child of a layer."""

    module: nn.Module
    inputs: tuple[Any, ...]  # its argument tensors themselves, compared by identity
    input_copy: Tensor | None  # copy of the first one of the state's size
    raw: Any  # the returned tensor itself, compared by identity
    value: Tensor  # copy of it: some layers add in place

    @property
    def has_matrices(self) -> bool:
        """Return whether a module has weight matrices, unlike norms and dropout."""
        return any(weight.dim() > 1 for weight in self.module.parameters())


def record_call(
    module: nn.Module, args: Any, kwargs: Any, output: Any, size: int
) -> ChildCall | None:
    """Record a child's forward; None if its output is not of the hidden state's size.

    Args:
        size: number of elements of the hidden state.
    """
    raw = output[0] if isinstance(output, tuple) else output
    if not isinstance(raw, Tensor) or raw.numel() != size:
        return None
    inputs = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    first = next((value.detach().clone() for value in inputs if value.numel() == size), None)
    return ChildCall(module, tuple(inputs), first, raw, raw.detach().clone())


def decompose(hidden: Tensor, output: Tensor, calls: list[ChildCall]) -> Sublayers | None:
    """Decompose a layer into sublayers; None if no decomposition adds up.

    Args:
        hidden, output: input and output of the layer, ``(batch, tokens, dim)``.
        calls: forwards of its direct children, in order.
    """
    heavy = [call for call in calls if call.has_matrices]
    if len(heavy) < 2:
        return None
    first, last = heavy[0], heavy[-1]
    attention, mlp = (_followed(call, calls).view_as(hidden) for call in (first, last))
    change = output - hidden
    scale = _scale(change, attention + mlp)
    inside = first.value.view_as(hidden)  # with the residual, added in the sublayer (BLOOM)
    decompositions = (
        (attention, mlp),
        (scale * attention, scale * mlp),  # a multiplier (Granite)
        (inside - hidden, last.value.view_as(hidden) - inside),
    )
    for a, m in decompositions:
        if _adds_up(hidden + a + m, output, change):
            after = calls[calls.index(first) + 1 :]
            middle = hidden + a
            inputs = (e.input_copy.view_as(hidden) for e in after if e.input_copy is not None)
            parallel = not any(_adds_up(middle, value, change) for value in inputs)
            return Sublayers(a, m, parallel)
    return None


def _followed(start: ChildCall, calls: list[ChildCall]) -> Tensor:
    """Follow an output through norms and dropouts; return the last result."""
    end = start
    for other in calls[calls.index(start) + 1 :]:
        if not other.has_matrices and any(value is end.raw for value in other.inputs):
            if other.input_copy is not None and not torch.equal(
                other.input_copy.reshape(-1), end.value.reshape(-1)
            ):
                continue  # something was added in place before: this module reads the sum
            end = other
    return end.value


def _scale(change: Tensor, total: Tensor) -> Tensor:
    """Fit the factor that makes ``total`` closest to ``change`` (least squares)."""
    square = (total.double() ** 2).sum().clamp_min(1e-30)
    return ((change.double() * total.double()).sum() / square).to(change.dtype)


def _adds_up(total: Tensor, expected: Tensor, change: Tensor) -> bool:
    """Return whether two states agree up to rounding, relative to the layer's change."""
    rounding = torch.finfo(expected.dtype).eps
    allowed = 1e-3 * change.double().norm() + 4 * rounding * expected.double().norm()
    return bool((total.double() - expected.double()).norm() <= allowed)
