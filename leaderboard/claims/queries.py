"""What a claim says, and which records it compares.

A comparison is a weighted sum of means over records that match a query: ``+1 looped, -1 standard``
is a difference, ``+1 -1 -1 +1`` a difference of differences.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from ..records import Record

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Where:
    """Which records; what is not given does not matter.

    Args:
        family: of the model, one of these.
        operator: that the model was last grown by.
        notation: regular expression that the model's schedule matches as a whole.
        unique_share: least share of unique layers among those that run.
        recipe: pattern for the model's recipe; an empty one for models without.
        conditions: of the study, by name; None for records without this condition.
    """

    family: tuple[str, ...] = ()
    operator: str | None = None
    notation: str | None = None
    unique_share: float | None = None
    recipe: str | None = None
    conditions: tuple[tuple[str, Value], ...] = ()

    def matches(self, record: Record) -> bool:
        """Whether ``record`` is one of them."""
        model = record.model
        last = model.growth[-1].operator if model.growth else None
        if self.family and model.family not in self.family:
            return False
        if self.operator is not None and last != self.operator:
            return False
        if self.notation is not None and not re.fullmatch(self.notation, model.schedule or ""):
            return False
        if self.unique_share is not None:
            unique, effective = model.unique_layers, model.effective_layers
            if not unique or not effective or unique / effective < self.unique_share:
                return False
        if self.recipe is not None and not fnmatchcase(model.recipe or "", self.recipe):
            return False
        return all(record.conditions.get(name) == value for name, value in self.conditions)


@dataclass(frozen=True)
class Term:
    """A part of the sum.

    Args:
        weight: in it.
        where: its records.
        side: terms of one side are of the same models.
        level: with :attr:`Comparison.vary`: the least or the most that all terms have.
    """

    weight: float
    where: Where
    side: str = ""
    level: Literal["least", "most"] | None = None


@dataclass(frozen=True)
class Comparison:
    """An effect, and how large it must be to matter.

    Args:
        what: in words.
        terms: whose sum it is.
        tasks: patterns, several joined by ``|``; the first of which there is something is taken.
        least: smallest effect of interest. Below 0: how much worse is still no matter.
        metric: of the task; several joined by ``|``, under which the same is known.
        study: whose records; None for plain evaluations.
        match: what else must be alike: fields of the model, conditions.
        vary: what differs between the terms by intention: ``shots``, or a condition.
        of: the score, or ``training_flops``: the share of them that is saved.
        unit: what was drawn at random: ``trainings`` where kinds of models are compared, or
            ``items`` where it is about one model.
    """

    what: str
    terms: tuple[Term, ...]
    tasks: tuple[str, ...]
    least: float
    metric: str = "acc"
    study: str | None = None
    match: tuple[str, ...] = ()
    vary: str | None = None
    of: Literal["value", "training_flops"] = "value"
    unit: Literal["trainings", "items"] = "trainings"


@dataclass(frozen=True)
class Claim:
    """A statement that records can bear out or not; all of its comparisons must hold."""

    id: str
    statement: str
    paper: str
    comparisons: tuple[Comparison, ...]
