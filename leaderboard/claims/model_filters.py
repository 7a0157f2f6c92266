"""Record filters for the architectures of the paper's claims, and the terms that compare them.

Evaluations have a record for the mean over all primitives; studies have records of single tasks,
which are compared one by one and then averaged.
"""

from __future__ import annotations

from dataclasses import replace

from .claim import RecordFilter, Term, Value

PRIMITIVES = ("reasoning_primitives*", "copying_*|variable_assignment_*")
STANDARD = RecordFilter(family=("standard",), recipe="")
LOOPED = RecordFilter(family=("looped",), recipe="")
GROWN = RecordFilter(family=("grown",), recipe="")
ITERATIVE = {"looped": LOOPED, "grown": GROWN}
LIDAS = RecordFilter(family=("grown",), operator="lidas", recipe="")
MIDAS = RecordFilter(family=("grown",), operator="midas", recipe="")
RETROFITTED = RecordFilter(
    family=("retrofitted",), unique_share=0.5
)  # from plain models: a retrofitted looped model has a lower share
PLAIN = RecordFilter(family=("standard", "grown"), recipe="")
FULL_LOOP = RecordFilter(family=("looped",), notation=r"\d+x\d+", recipe="")
PARTLY = RecordFilter(
    family=("looped", "grown", "standard"), notation=r"(\d+-)?\d+(x\d+-\d+)?", recipe=""
)


def with_conditions(where: RecordFilter, **conditions: Value) -> RecordFilter:
    """Return a filter with further conditions of a study.

    >>> with_conditions(LOOPED, depth=3).conditions
    (('depth', 3),)
    """
    return replace(where, conditions=(*where.conditions, *conditions.items()))


def difference(plus: RecordFilter, minus: RecordFilter) -> tuple[Term, ...]:
    """Return the terms of a difference of two means: ``plus`` minus ``minus``."""
    return Term(1, plus), Term(-1, minus)


def with_repeats(where: RecordFilter, repeats: int) -> RecordFilter:
    """Filter ``inference-scaling`` records by repeats of the block that was best in validation."""
    return with_conditions(where, times=repeats, chosen=True, control=None)


def difference_of_gains(
    before: RecordFilter, after: RecordFilter, minus: tuple[RecordFilter, RecordFilter]
) -> tuple[Term, ...]:
    """Return the terms of ``(after - before) - (minus[1] - minus[0])``: a difference of gains.

    Args:
        before, after: filters of the first models without and with the change.
        minus: the same two filters for the other models.
    """
    return (
        Term(1, after, "first"),
        Term(-1, before, "first"),
        Term(-1, minus[1], "second"),
        Term(1, minus[0], "second"),
    )
