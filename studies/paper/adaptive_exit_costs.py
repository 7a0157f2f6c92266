"""What leaving early saves and costs: criteria and thresholds, applied to answers at every exit.

Every exit's answer and scores were recorded once; here a criterion with a threshold says where each
question leaves. Counted is what runs then: the steps up to there, and what looking costs. A look
reads a prediction through the norm and head (``latent`` compares states and reads none), at every
exit passed, so that looking often can cost more than the steps it saves. Under the rule of Geiping
et al. a look first runs the layers after the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.statistics import ends, share_interval
from ..study import Record

FIXED = "fixed"
CRITERIA = ("entropy", "latent", "kl", "argmax")
WITHIN = 0.01  # of the accuracy of running all steps: what a threshold may cost on validation
POINTS = 24  # of a curve

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prices:
    """FLOPs of what runs.

    Args:
        layers: of all layers up to each exit, a token, ``(exits,)``.
        head: of reading one prediction; with a tuned lens, of the lens too.
        last: of reading the last one.
        tokens: of a question and its options, on average.
        read: places where a question's answer is read.
        judged: places that a look reads.
        reused: whether the last look is the prediction.
        coda: of the layers that a look runs, a token; 0 where it runs none.
    """

    layers: list[float]
    head: float
    last: float
    tokens: float
    read: float
    judged: float
    reused: bool
    coda: float = 0.0

    def looks(self, leaves: NDArray[np.int64], criterion: str) -> NDArray[np.int64]:
        """How often each question was looked at."""
        if criterion == FIXED:
            return np.zeros_like(leaves)
        return np.minimum(leaves + 1, len(self.layers) - 1)  # after the last exit nothing is asked

    def _at(self, leaves: NDArray[np.int64]) -> Floats:
        return np.asarray(self.layers, dtype=np.float64)[leaves]

    def _read(self, leaves: NDArray[np.int64]) -> Floats:
        return np.where(leaves == len(self.layers) - 1, self.last, self.head)

    def question(self, leaves: NDArray[np.int64], criterion: str) -> Floats:
        """A whole question, scored once: its tokens run together."""
        a_look = self.judged * self.head + self.tokens * self.coda
        looked = self.looks(leaves, criterion) * (0.0 if criterion == "latent" else a_look)
        return self.tokens * self._at(leaves) + looked + self.read * self._read(leaves)

    def token(self, leaves: NDArray[np.int64], criterion: str) -> Floats:
        """One token at a time, as in generation: each is looked at."""
        looks = self.looks(leaves, criterion) * (criterion != "latent")
        early = leaves < len(self.layers) - 1
        # the look that lets it go has read its prediction already
        reads = np.where(early & (looks > 0) & self.reused, 0.0, self._read(leaves))
        return self._at(leaves) + looks * (self.head + self.coda) + reads

    def look_in_steps(self, criterion: str, steps: int) -> float:
        """What a look at a token costs, in layers of the model."""
        if criterion in (FIXED, "latent"):
            return 0.0
        return (self.head + self.coda) / (self.layers[-1] / steps)


@dataclass(frozen=True)
class Exits:
    """The answers of one split at every exit.

    Args:
        right: ``(exits, items)``, bool.
        scores: criterion to ``(exits, items)``; nothing settles where it is infinite, or where
            ``argmax`` has 1 at the first exit.
        steps: executed up to each exit, ``(exits,)``.
        prices: of running and looking.
    """

    right: NDArray[np.bool_]
    scores: dict[str, Floats]
    steps: NDArray[np.int64]
    prices: Prices

    @classmethod
    def of(cls, record: Record, split: str) -> Exits:
        """A split of a record."""
        rows = [row for row in record["rows"] if row["split"] == split]
        answers = [[answer == "1" for answer in row["answers"]] for row in rows]
        scores = {}
        for name, listed in record["data"]["scores"][split].items():
            seen = np.asarray(listed, dtype=np.float64)
            if len(seen) < len(rows):  # the first look is compared with nothing
                first = np.full((1, len(answers[0])), 1.0 if name == "argmax" else np.inf)
                seen = np.concatenate([first, seen])
            scores[name] = seen
        steps = np.asarray([row["steps"] for row in rows], dtype=np.int64)
        return cls(np.asarray(answers), scores, steps, Prices(**record["data"]["prices"]))

    def leaves(self, criterion: str, threshold: float | None) -> NDArray[np.int64]:
        """The exit that each question takes: ``(items,)``.

        Args:
            threshold: for ``fixed`` the number of steps; else as ``EarlyExit`` has it. None for
                running all steps.
        """
        if threshold is None:
            return np.full(self.right.shape[1], len(self.steps) - 1)
        if criterion == FIXED:
            settled = np.repeat((self.steps >= threshold)[:, None], self.right.shape[1], axis=1)
        elif criterion == "argmax":
            settled = self.scores[criterion] >= threshold
        else:
            settled = self.scores[criterion] < threshold
        settled[-1] = True
        found: NDArray[np.int64] = settled.argmax(axis=0)
        return found

    def answers(self, leaves: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each question is answered right where it leaves."""
        found: NDArray[np.bool_] = self.right[leaves, np.arange(self.right.shape[1])]
        return found

    def thresholds(self, criterion: str) -> list[float]:
        """Those worth trying, from never leaving to leaving at once, evenly in mean steps."""
        if criterion == FIXED:
            return [float(step) for step in reversed(self.steps)]
        if criterion == "argmax":
            return [float(count) for count in range(len(self.steps), 0, -1)]
        seen = self.scores[criterion][:-1]
        seen = seen[np.isfinite(seen)]  # two exits or more come before the last
        tried = np.unique(np.quantile(seen, np.linspace(0, 1, 400)))
        found = [0.0, *np.nextafter(tried, np.inf).tolist()]  # leaves where the change is below
        by_steps = [float(self.steps[self.leaves(criterion, value)].mean()) for value in found]
        wanted = np.linspace(max(by_steps), min(by_steps), POINTS)
        nearest = {int(np.abs(np.asarray(by_steps) - steps).argmin()) for steps in wanted}
        return [found[place] for place in sorted(nearest)]

    @cached_property
    def full(self) -> NDArray[np.bool_]:
        """The answers after all steps."""
        found: NDArray[np.bool_] = self.right[-1]
        return found


def chosen(validation: Exits, criterion: str) -> float | None:
    """The threshold with the fewest steps whose accuracy is within a point of all steps.

    Returns:
        None where only running all steps is.
    """
    enough = validation.full.mean() - WITHIN - 1e-9
    cheapest, found = (float(validation.steps[-1]), -np.inf), None
    for threshold in validation.thresholds(criterion)[1:]:  # the first never leaves
        leaves = validation.leaves(criterion, threshold)
        accuracy = float(validation.answers(leaves).mean())
        here = float(validation.steps[leaves].mean()), -accuracy
        if accuracy >= enough and here < cheapest:
            cheapest, found = here, threshold
    return found


def curve(validation: Exits, test: Exits, criterion: str) -> list[dict[str, Any]]:
    """Points of a criterion on test: mean executed steps, accuracy and its interval."""
    thresholds = validation.thresholds(criterion)
    every = [test.leaves(criterion, threshold) for threshold in thresholds]
    shares = [float(test.answers(leaves).mean()) for leaves in every]
    return [
        {
            "criterion": criterion,
            "threshold": threshold,
            "steps": float(test.steps[leaves].mean()),
            "value": share,
            **ends(share_interval(share, len(leaves))),
        }
        for threshold, leaves, share in zip(thresholds, every, shares, strict=True)
    ]


def resampled(points: Sequence[dict[str, Any]], grid: Sequence[float]) -> list[dict[str, Any]]:
    """A curve at given mean steps, straight between its points."""
    ordered = sorted(points, key=lambda point: point["steps"])
    steps = [point["steps"] for point in ordered]
    read = {
        name: np.interp(grid, steps, [point[name] for point in ordered])
        for name in ("value", "low", "high")
    }
    return [
        {"criterion": points[0]["criterion"], "threshold": None, "steps": float(step)}
        | {name: float(values[place]) for name, values in read.items()}
        for place, step in enumerate(grid)
    ]
