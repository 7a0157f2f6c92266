"""Arguments of layers in a forward pass, stored so that layers can run again on other states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...core.errors import InputError

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of a layer, without the hidden state."""


class LayerArguments:
    """Arguments of one forward pass; layers of a type get the same.

    Args:
        types: type of each step's layer; None where all are alike.
    """

    def __init__(self, types: Sequence[str] | None = None) -> None:
        self.types = types
        self.stored: dict[str | None, Arguments] = {}  # layer type -> arguments

    def store(self, step: int, arguments: Arguments, check: bool) -> None:
        """Store the arguments of a step, unless a layer of its type has run before.

        Args:
            check: refuse a step whose arguments differ from the stored ones.

        Raises:
            InputError: with ``check``, the step gets other arguments.
        """
        stored = self.stored.setdefault(self._type(step), arguments)
        if check and not _same_arguments(stored, arguments):
            raise InputError(
                f"step {step} gets other arguments than the steps before it: through_coda cannot "
                "run it ahead"
            )

    def of(self, step: int) -> Arguments:
        """Return the arguments of a step.

        Raises:
            InputError: no layer of its type has run before.
        """
        kind = self._type(step)
        if kind not in self.stored:
            raise InputError(
                f"no layer of the kind of step {step} ({kind}) has run before: through_coda cannot "
                "run it ahead"
            )
        return self.stored[kind]

    def _type(self, step: int) -> str | None:
        return None if self.types is None else self.types[step]


def _same_arguments(one: Arguments, other: Arguments) -> bool:
    """Return whether two layers get the same arguments, tensors compared by identity."""
    pairs = [*zip(one[0], other[0], strict=False)]
    pairs += [(value, other[1].get(name)) for name, value in one[1].items()]
    if len(one[0]) != len(other[0]) or one[1].keys() != other[1].keys():
        return False
    return all(a is b or (not isinstance(a, Tensor) and _equal(a, b)) for a, b in pairs)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
    return isinstance(one, (int, float, str, bool)) and one == other
