"""How far a study is inside a cell: trainings in a few lines, measurements in a bar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LINES = 8  # told of a training


class Told:
    """Says a few times how far a training is.

    Args:
        say: told it.
        first, last: steps that are done already, and that there will be.
        what: a step is called.
    """

    def __init__(
        self, say: Callable[[str], object], first: int, last: int, what: str = "step"
    ) -> None:
        self.say, self.last, self.what = say, last, what
        self.every = max(1, (last - first) // LINES)
        self.due = first + self.every

    def __call__(self, step: int, values: dict[str, Any]) -> None:
        if step >= self.due:
            self.say(f"{self.what} {step} of {self.last}: loss {values['loss']:.3f}")
        while step >= self.due:  # a training that goes on begins later
            self.due += self.every
