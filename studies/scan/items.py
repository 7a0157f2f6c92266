"""Items of a scan, and their scores: margin of the right option, and right or wrong.

The margin is the log-probability of the right option minus that of the best wrong one, in nats. It
is less noisy than right or wrong. For races it is clipped to ``[-clip, clip]`` and mapped to
``[0, 1]``, because the bounds of a race need bounded scores.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Pair = tuple[list[int], list[int]]
CLIP = 2.0  # nats
MEASURES = ("margin", "accuracy")
MOST_FREE = 4.0  # nats a token below certainty at which the score of a free answer ends


@dataclass(frozen=True)
class Item:
    """Tokens of a prompt and of its options.

    Args:
        context: tokens of the prompt.
        options: tokens of each option; one alone is an answer that greedy decoding must give.
        answer: index of the right option.
        lengths: characters of each option, for scores normalised as lm-eval's ``acc_norm``; None
            for plain sums of log-probabilities.
    """

    context: list[int]
    options: list[list[int]]
    answer: int
    lengths: tuple[int, ...] | None = None


@dataclass(frozen=True)
class GeneratedItem:
    """Question whose answer is generated greedily.

    Args:
        request: lm-eval's request, of a prompt and settings of generation.
        grade: points of an answer, from 0 to 1, by the task's own metric.
    """

    request: Any
    grade: Callable[[str], float]

    @property
    def longest(self) -> int:
        """Most tokens of the answer."""
        return int(self.request.args[1]["max_gen_toks"])


@dataclass(frozen=True)
class ProbeItems:
    """Items of a probe from one split.

    Args:
        name: name of the probe.
        split: split that the items are from.
        chance: accuracy of guessing; None where it is not known.
        items: the items, all scored by log-probabilities or all generated.
        about: fields of records (task, version, fingerprint, …).
    """

    name: str
    split: str
    chance: float | None
    items: tuple[Item, ...] | tuple[GeneratedItem, ...]
    about: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def metric(self) -> str:
        """Metric of the answers: ``acc``, ``acc_norm``, or the task's own for generated ones."""
        return str(self.about.get("metric", "acc"))

    @property
    def scored(self) -> list[Item]:
        """Items that are scored by log-probabilities; none of a generative probe."""
        return [item for item in self.items if isinstance(item, Item)]

    @property
    def generated(self) -> list[GeneratedItem]:
        """Items that are generated; none of another probe."""
        return [item for item in self.items if isinstance(item, GeneratedItem)]


def requests(items: Sequence[Item]) -> list[Pair]:
    """List context and continuation of every option, items in order."""
    return [(item.context, option) for item in items for option in item.options]


def score(totals: Floats, greedy: Bools, items: Sequence[Item]) -> tuple[Floats, Floats]:
    """Compute margins and points.

    Args:
        totals: summed log-probabilities, ``(programs, requests)``.
        greedy: whether greedy decoding gives the request, ``(programs, requests)``.

    Returns:
        Margins in nats, and points: 1 for a right answer, 0 for a wrong one; ``(programs, items)``
        each. The first of equally probable
        options counts as chosen, as in lm-eval.
    """
    margins = np.zeros((len(totals), len(items)))
    points = np.zeros(margins.shape)
    ends = itertools.accumulate(len(item.options) for item in items)
    for number, (item, end) in enumerate(zip(items, ends, strict=True)):
        own = slice(end - len(item.options), end)
        if len(item.options) == 1:  # a free answer: half certain a token is a margin of 0
            mean = totals[:, own][:, 0] / len(item.options[0])
            margins[:, number] = CLIP + mean * (2 * CLIP / MOST_FREE)
            points[:, number] = greedy[:, own][:, 0]
            continue
        values = totals[:, own]
        if item.lengths is not None:  # as acc_norm; times the mean length, so in nats again
            values = values / np.array(item.lengths) * float(np.mean(item.lengths))
        wrong = np.delete(values, item.answer, axis=1).max(axis=1)
        margins[:, number] = values[:, item.answer] - wrong
        points[:, number] = values.argmax(axis=1) == item.answer
    return margins, points


def margins_of(points: Floats, clip: float) -> Floats:
    """Return points of generated answers as margins, from ``-clip`` to ``clip``.

    >>> margins_of(np.array([0.0, 0.5, 1.0]), 2.0).tolist()
    [-2.0, 0.0, 2.0]
    """
    return (2 * points - 1) * clip


def bounded(margins: Floats, points: Floats, measure: str, clip: float = CLIP) -> Floats:
    """Map scores to ``[0, 1]``: clipped margins, or points (1 for a right answer, 0 for a wrong).

    >>> bounded(np.array([-9.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0]), "margin").tolist()
    [0.0, 0.5, 0.75]
    """
    if measure == "accuracy":
        return points.astype(np.float64)
    scores: Floats = (np.clip(margins, -clip, clip) + clip) / (2 * clip)
    return scores


def check_plain(accuracy: float, chance: float | None, count: int, name: str) -> None:
    """Refuse a probe on which the model as it is guesses, or answers everything.

    Guessing is an accuracy that a guesser of ``chance`` reaches or exceeds with probability 1 % or
    more; the ceiling is no wrong answer among at least 20.

    Raises:
        InputError: saying that nothing can be found there.
    """
    if count < 20:
        return
    if accuracy >= 1:
        raise InputError(
            f"the model as it is answers all {count} items of {name}: no edit can be better there; "
            "give a harder probe"
        )
    if chance is None:
        return
    from math import comb

    right = round(accuracy * count)
    guessed = sum(
        comb(count, k) * chance**k * (1 - chance) ** (count - k) for k in range(right, count + 1)
    )
    if guessed >= 0.01:
        raise InputError(
            f"the model as it is guesses on {name} ({accuracy:.3f}, chance {chance:.3f}, {count} "
            "items): nothing can be found there; give an easier probe, or --allow-chance"
        )
