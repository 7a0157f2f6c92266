"""Progress of training inside a cell, in a few lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LINES = 8  # printed in a run


class TrainingProgress:
    """Prints loss and step a few times in a run.

    Args:
        say: receives the lines.
        first, last: first and last step of the run.
        noun: name of a step.
    """

    def __init__(
        self, say: Callable[[str], object], first: int, last: int, noun: str = "step"
    ) -> None:
        self.say, self.last, self.noun = say, last, noun
        self.every = max(1, (last - first) // LINES)
        self.due = first + self.every

    def __call__(self, step: int, values: dict[str, Any]) -> None:
        if step >= self.due:
            self.say(f"{self.noun} {step} of {self.last}: loss {values['loss']:.3f}")
        while step >= self.due:  # a resumed run begins later
            self.due += self.every
