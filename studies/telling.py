"""How far a training inside a study is, in a few lines and not one a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LINES = 8  # told of a training


class Told:
    """Says a few times how far a training is.

    Args:
        say: told it.
        first, last: steps that are done already, and that there will be.
    """

    def __init__(self, say: Callable[[str], object], first: int, last: int) -> None:
        self.say, self.last = say, last
        self.every = max(1, (last - first) // LINES)
        self.due = first + self.every

    def __call__(self, step: int, values: dict[str, Any]) -> None:
        if step >= self.due:
            self.say(f"step {step} of {self.last}: loss {values['loss']:.3f}")
        while step >= self.due:  # a training that goes on begins later
            self.due += self.every
