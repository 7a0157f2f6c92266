"""Costs and savings of early exit: criteria and thresholds, applied to answers at every exit.

Answers and scores of every exit are recorded once. A criterion with a threshold then decides at
which exit each question leaves. The cost is that of the steps up to the exit and of the exit
checks: the criterion reads a prediction through norm and head at every exit it passes (``latent``
compares states and reads no prediction). Many checks can cost more than the steps they save. Under
the rule of Geiping et al. a check first runs the layers after the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.statistics import ends, share_interval
from ..records import StudyRecord

FIXED = "fixed"
CRITERIA = ("entropy", "latent", "kl", "argmax")
MAX_LOSS = 0.01  # accuracy that a threshold may lose on validation against running all steps
POINTS = 24  # on a curve

Floats = NDArray[np.float64]
Exits = NDArray[np.int64]


@dataclass(frozen=True)
class ExitCosts:
    """FLOPs of running a model up to an exit, and of the exit checks on the way.

    Args:
        layers: FLOPs per token of all layers up to each exit, ``(exits,)``.
        head: FLOPs of one prediction at an exit: norm, head and, if there is one, tuned lens.
        last: FLOPs of one prediction after all steps.
        tokens: mean number of tokens of a question and its options.
        read: mean number of token predictions that scoring a question needs.
        judged: mean number of token predictions that one exit check reads.
        reused: whether the logits of the last exit check are the model's final logits.
        coda: FLOPs per token of the layers that an exit check runs; 0 where it runs none.
    """

    layers: list[float]
    head: float
    last: float
    tokens: float
    read: float
    judged: float
    reused: bool
    coda: float = 0.0

    def checks(self, exits: Exits, criterion: str) -> Exits:
        """Count the exit checks of each question, ``(items,)``, from the exit it takes."""
        if criterion == FIXED:
            return np.zeros_like(exits)
        return np.minimum(exits + 1, len(self.layers) - 1)  # no check after the last exit

    def _layers(self, exits: Exits) -> Floats:
        return np.asarray(self.layers, dtype=np.float64)[exits]

    def _prediction(self, exits: Exits) -> Floats:
        return np.where(exits == len(self.layers) - 1, self.last, self.head)

    def question(self, exits: Exits, criterion: str) -> Floats:
        """Return FLOPs of scoring each question, ``(items,)``; its tokens run together."""
        per_check = self.judged * self.head + self.tokens * self.coda
        checks = self.checks(exits, criterion) * (0.0 if criterion == "latent" else per_check)
        return self.tokens * self._layers(exits) + checks + self.read * self._prediction(exits)

    def token(self, exits: Exits, criterion: str) -> Floats:
        """Return FLOPs of generating one token, ``(items,)``; every token is checked."""
        checks = self.checks(exits, criterion) * (criterion != "latent")
        early = exits < len(self.layers) - 1
        # the last check has computed the prediction already
        last_read = np.where(early & (checks > 0) & self.reused, 0.0, self._prediction(exits))
        return self._layers(exits) + checks * (self.head + self.coda) + last_read

    def check_in_steps(self, criterion: str, steps: int) -> float:
        """Return the cost of one exit check of a token, in steps of the model.

        Args:
            criterion: exit criterion; ``fixed`` and ``latent`` cost nothing.
            steps: number of steps of the model.
        """
        if criterion in (FIXED, "latent"):
            return 0.0
        return (self.head + self.coda) / (self.layers[-1] / steps)


@dataclass(frozen=True)
class ExitAnswers:
    """Per-item correctness and criterion scores of one split, at every exit.

    Args:
        right: per-item correctness ``(exits, items)``, bool.
        scores: criterion -> ``(exits, items)``. Where the first exit has nothing to compare with,
            its score is infinite (``argmax``: 1), so that no item leaves there.
        steps: steps executed up to each exit, ``(exits,)``.
        costs: FLOPs of layers and exit checks.
    """

    right: NDArray[np.bool_]
    scores: dict[str, Floats]
    steps: NDArray[np.int64]
    costs: ExitCosts

    @classmethod
    def read(cls, record: StudyRecord, split: str) -> ExitAnswers:
        """Read one split of a record."""
        rows = [row for row in record.rows if row.split == split]
        answers = [row.correct for row in rows]
        scores = {}
        for name, per_exit in record.data["scores"][split].items():
            values = np.asarray(per_exit, dtype=np.float64)
            if len(values) < len(rows):  # the first exit has nothing to compare with
                first = np.full((1, len(answers[0])), 1.0 if name == "argmax" else np.inf)
                values = np.concatenate([first, values])
            scores[name] = values
        steps = np.asarray([row["steps"] for row in rows], dtype=np.int64)
        return cls(np.asarray(answers), scores, steps, ExitCosts(**record.data["prices"]))

    def exits_taken(self, criterion: str, threshold: float | None) -> Exits:
        """Return the exit that each question takes: ``(items,)``.

        Args:
            threshold: number of steps for ``fixed``, else threshold of ``EarlyExit``; None for
                running all steps.
        """
        if threshold is None:
            return np.full(self.right.shape[1], len(self.steps) - 1)
        if criterion == FIXED:
            is_settled = np.repeat((self.steps >= threshold)[:, None], self.right.shape[1], axis=1)
        elif criterion == "argmax":
            is_settled = self.scores[criterion] >= threshold
        else:
            is_settled = self.scores[criterion] < threshold
        is_settled[-1] = True
        exits: Exits = is_settled.argmax(axis=0)
        return exits

    def correct_at(self, exits: Exits) -> NDArray[np.bool_]:
        """Return per-item correctness at the exits taken."""
        correct: NDArray[np.bool_] = self.right[exits, np.arange(self.right.shape[1])]
        return correct

    def thresholds(self, criterion: str) -> list[float]:
        """Return thresholds to try, evenly spaced in mean steps, most steps first."""
        if criterion == FIXED:
            return [float(step) for step in reversed(self.steps)]
        if criterion == "argmax":
            return [float(count) for count in range(len(self.steps), 0, -1)]
        finite = self.scores[criterion][:-1]
        finite = finite[np.isfinite(finite)]  # two exits or more come before the last
        quantiles = np.unique(np.quantile(finite, np.linspace(0, 1, 400)))
        # an item leaves where its score is below the threshold
        thresholds = [0.0, *np.nextafter(quantiles, np.inf).tolist()]
        every = [self.exits_taken(criterion, threshold) for threshold in thresholds]
        by_steps = [float(self.steps[exits].mean()) for exits in every]
        targets = np.linspace(max(by_steps), min(by_steps), POINTS)
        nearest = {int(np.abs(np.asarray(by_steps) - steps).argmin()) for steps in targets}
        return [thresholds[place] for place in sorted(nearest)]

    @cached_property
    def full(self) -> NDArray[np.bool_]:
        """Per-item correctness after all steps."""
        correct: NDArray[np.bool_] = self.right[-1]
        return correct


def choose_threshold(validation: ExitAnswers, criterion: str) -> float | None:
    """Choose the threshold with the fewest steps that loses at most ``MAX_LOSS`` of accuracy.

    Returns:
        None where every threshold loses more.
    """
    enough = validation.full.mean() - MAX_LOSS - 1e-9
    cheapest, best = (float(validation.steps[-1]), -np.inf), None
    for threshold in validation.thresholds(criterion)[1:]:  # the first never leaves
        exits = validation.exits_taken(criterion, threshold)
        accuracy = float(validation.correct_at(exits).mean())
        here = float(validation.steps[exits].mean()), -accuracy
        if accuracy >= enough and here < cheapest:
            cheapest, best = here, threshold
    return best


def curve(validation: ExitAnswers, test: ExitAnswers, criterion: str) -> list[dict[str, Any]]:
    """Return points of a criterion on test items: mean executed steps, accuracy and interval."""
    thresholds = validation.thresholds(criterion)
    every = [test.exits_taken(criterion, threshold) for threshold in thresholds]
    shares = [float(test.correct_at(exits).mean()) for exits in every]
    return [
        {
            "criterion": criterion,
            "threshold": threshold,
            "steps": float(test.steps[exits].mean()),
            "value": share,
            **ends(share_interval(share, len(exits))),
        }
        for threshold, exits, share in zip(thresholds, every, shares, strict=True)
    ]


def interpolate_curve(
    points: Sequence[dict[str, Any]], grid: Sequence[float]
) -> list[dict[str, Any]]:
    """Interpolate a curve linearly at given mean steps."""
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
