"""The kinds of models and tasks that the paper's claims are about, and the sums that compare them.

Evaluations have a mean over all primitives; studies ask single tasks, which are taken one by one
and averaged where there is no such mean.
"""

from __future__ import annotations

from dataclasses import replace

from .queries import Term, Value, Where

PRIMITIVES = ("reasoning_primitives*", "copying_*|variable_assignment_*")
STANDARD = Where(family=("standard",), recipe="")
LOOPED = Where(family=("looped",), recipe="")
GROWN = Where(family=("grown",), recipe="")
KINDS = {"looped": LOOPED, "grown": GROWN}
LIDAS = Where(family=("grown",), operator="lidas", recipe="")
MIDAS = Where(family=("grown",), operator="midas", recipe="")
RETROFITTED = Where(
    family=("retrofitted",), unique_share=0.5
)  # of plain models, not of looped ones
PLAIN = Where(family=("standard", "grown"), recipe="")
FULL_LOOP = Where(family=("looped",), notation=r"\d+x\d+", recipe="")
PARTLY = Where(family=("looped", "grown", "standard"), notation=r"(\d+-)?\d+(x\d+-\d+)?", recipe="")


def under(where: Where, **conditions: Value) -> Where:
    """The same, under further conditions of a study."""
    return replace(where, conditions=(*where.conditions, *conditions.items()))


def more(plus: Where, minus: Where) -> tuple[Term, ...]:
    """How much better some models are than others."""
    return Term(1, plus), Term(-1, minus)


def repeated(where: Where, times: int) -> Where:
    """Runs of ``inference-scaling`` with the block repeated that validation chose among all."""
    return under(where, times=times, chosen=True, control=None)


def gain(before: Where, after: Where, than: tuple[Where, Where]) -> tuple[Term, ...]:
    """How much a change gains some models, less how much it gains others."""
    return (
        Term(1, after, "first"),
        Term(-1, before, "first"),
        Term(-1, than[1], "second"),
        Term(1, than[0], "second"),
    )
