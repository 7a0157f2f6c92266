"""Which part of what a layer adds to its input comes from attention, which from the MLP.

There is no table of architectures: the calls inside a layer are recorded, a reading of them is
proposed, and it stands only if input and contributions add up to the layer's output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Sublayers(NamedTuple):
    """What is added to a layer's input ``h``: ``h + attention + mlp`` is its output.

    Args:
        attention, mlp: ``(batch, tokens, dim)``, after post-norms and multipliers.
        parallel: the MLP reads ``h`` and not ``h + attention``.
    """

    attention: Tensor
    mlp: Tensor
    parallel: bool


@dataclass
class Event:
    """A call of a direct child of a layer."""

    module: nn.Module
    read: tuple[Any, ...]  # the very tensors it was given, to follow them
    read_first: Tensor | None
    raw: Any  # the very tensor it returned
    value: Tensor  # a copy: some layers add in place

    @property
    def weighs(self) -> bool:
        """Whether it is more than a norm or a dropout."""
        return any(weight.dim() > 1 for weight in self.module.parameters())


def event(module: nn.Module, args: Any, kwargs: Any, output: Any, size: int) -> Event | None:
    """Note a call whose output is as large as the hidden state (``size`` numbers)."""
    raw = output[0] if isinstance(output, tuple) else output
    if not isinstance(raw, Tensor) or raw.numel() != size:
        return None
    read = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    first = next((value.detach().clone() for value in read if value.numel() == size), None)
    return Event(module, tuple(read), first, raw, raw.detach().clone())


def explain(hidden: Tensor, output: Tensor, events: list[Event]) -> Sublayers | None:
    """The sublayers of a layer, or None if no reading of its calls adds up.

    Args:
        hidden, output: of the layer, ``(batch, tokens, dim)``.
        events: calls of its direct children, in order.
    """
    heavy = [e for e in events if e.weighs]
    if len(heavy) < 2:
        return None
    first, last = heavy[0], heavy[-1]
    attention, mlp = (_followed(e, events).view_as(hidden) for e in (first, last))
    change = output - hidden
    scale = _scale(change, attention + mlp)
    inside = first.value.view_as(hidden)  # the residual was added in the sublayer itself (BLOOM)
    readings = (
        (attention, mlp),
        (scale * attention, scale * mlp),  # a multiplier (Granite)
        (inside - hidden, last.value.view_as(hidden) - inside),
    )
    for a, m in readings:
        if _adds_up(hidden + a + m, output, change):
            after = events[events.index(first) + 1 :]
            middle = hidden + a
            reads = (e.read_first.view_as(hidden) for e in after if e.read_first is not None)
            parallel = not any(_adds_up(middle, read, change) for read in reads)
            return Sublayers(a, m, parallel)
    return None


def _followed(start: Event, events: list[Event]) -> Tensor:
    """What becomes of an output: the last norm or dropout that it went through."""
    end = start
    for other in events[events.index(start) + 1 :]:
        if not other.weighs and any(value is end.raw for value in other.read):
            if other.read_first is not None and not torch.equal(
                other.read_first.reshape(-1), end.value.reshape(-1)
            ):
                continue  # something was added in place before: this reads the sum
            end = other
    return end.value


def _scale(change: Tensor, total: Tensor) -> Tensor:
    square = (total.double() ** 2).sum().clamp_min(1e-30)
    return ((change.double() * total.double()).sum() / square).to(change.dtype)


def _adds_up(found: Tensor, wanted: Tensor, change: Tensor) -> bool:
    """Whether two states agree, up to rounding, as seen beside what the layer changes."""
    rounding = torch.finfo(wanted.dtype).eps
    allowed = 1e-3 * change.double().norm() + 4 * rounding * wanted.double().norm()
    return bool((found.double() - wanted.double()).norm() <= allowed)
