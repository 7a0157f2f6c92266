"""Define claims: a statement, and the comparisons of records that test it.

A comparison is a weighted sum of means over filtered records: ``+1 looped, -1 standard`` is a
difference, ``+1 -1 -1 +1`` a difference of differences.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from ..records import Record

Value = str | int | float | bool | None


@dataclass(frozen=True)
class RecordFilter:
    """Filter of records by model and conditions; a default value matches every record.

    Args:
        family: allowed model families.
        operator: growth operator of the model's last growth step.
        notation: regular expression that the model's whole schedule matches.
        unique_share: minimum of unique layers / layers that run.
        recipe: shell pattern of the model's recipe; empty for models without a recipe.
        conditions: pairs (condition of the study, value); value None matches records without the
            condition.
    """

    family: tuple[str, ...] = ()
    operator: str | None = None
    notation: str | None = None
    unique_share: float | None = None
    recipe: str | None = None
    conditions: tuple[tuple[str, Value], ...] = ()

    def matches(self, record: Record) -> bool:
        """Return True if a record passes the filter."""
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
    """Term of a comparison: weight times the mean over the records that pass a filter.

    Args:
        weight: factor of the mean.
        where: filter of the records.
        side: name of a side; terms of the same side use the same models.
        level: with :attr:`Comparison.vary`: use the records at the lowest (``least``) or highest
            (``most``) value that all terms have.
    """

    weight: float
    where: RecordFilter
    side: str = ""
    level: Literal["least", "most"] | None = None


@dataclass(frozen=True)
class Comparison:
    """Effect to estimate, with the smallest effect of interest.

    Example: held-out accuracy of looped minus standard models with as many unique layers::

        Comparison(
            "looped less standard",
            terms=(Term(1, RecordFilter(family=("looped",))),
                   Term(-1, RecordFilter(family=("standard",)))),
            tasks=("reasoning_primitives",),
            least=0.01,
            match=("unique_layers",),
        )

    Args:
        what: description in words.
        terms: terms of the weighted sum.
        tasks: shell patterns of task names, alternatives joined by ``|``. The first pattern with
            comparable records is used.
        least: smallest effect of interest; negative for a non-inferiority margin.
        metric: metric of the task; synonyms joined by ``|``.
        study: study of the records; None for plain evaluations.
        match: model fields and conditions that must be equal in all terms.
        vary: ``shots`` or a condition that differs between the terms.
        quantity: ``value`` compares scores; ``training_flops`` computes the share of FLOPs saved.
        unit: sampling unit of the interval: ``runs`` (training runs that differ in their
            seed) to compare architectures, ``items`` for a statement about one model.
    """

    what: str
    terms: tuple[Term, ...]
    tasks: tuple[str, ...]
    least: float
    metric: str = "acc"
    study: str | None = None
    match: tuple[str, ...] = ()
    vary: str | None = None
    quantity: Literal["value", "training_flops"] = "value"
    unit: Literal["runs", "items"] = "runs"


@dataclass(frozen=True)
class Claim:
    """Statement of the paper, supported if all of its comparisons are.

    Args:
        id: stable name, e.g. ``looping-at-equal-parameters``.
        statement: the claim as a sentence.
        paper: tables, figures or sections that make the statement.
    """

    id: str
    statement: str
    paper: str
    comparisons: tuple[Comparison, ...]
