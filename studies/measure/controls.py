"""Counterfactual controls beside a gain: the same questions, but the answer cannot be worked out.

What a model gains there too is no reasoning: it guesses better, or knows the form of an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError, one_of
from ...tasks.catalog import resolve

if TYPE_CHECKING:
    from ..records import StudyRecord

NONE = "none"
CONTROLS = (NONE, "cut", "shuffled")


def controlled(name: str, control: str) -> str | None:
    """A task with its control, or None if it has no such control."""
    if control == NONE:
        return None
    try:
        resolve(f"{name}:control={control}")
    except InputError:
        return None
    return f"{name}:control={control}"


def check_control(names: Sequence[str], control: str) -> None:
    """Refuse a control that none of the tasks has, before the slow part."""
    one_of("control", control, CONTROLS)
    if control != NONE and not any(controlled(name, control) for name in names):
        raise InputError(f"none of the tasks has questions with control '{control}'")


def with_controls(names: Sequence[str], control: str) -> list[tuple[str, dict[str, Any]]]:
    """Tasks with what their rows say of it, and behind them their controls.

    >>> with_controls(["copying_real_words", "variable_assignment_math_d0"], "cut")[1:]
    [('variable_assignment_math_d0', {}), ('variable_assignment_math_d0:control=cut', \
{'control': 'cut', 'of': 'variable_assignment_math_d0'})]
    """
    found: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in names]
    for name in names:
        if (other := controlled(name, control)) is not None:
            task = resolve(name)
            assert task is not None
            found.append((other, {"control": control, "of": task.label}))
    return found


def alike(records: Sequence[StudyRecord], controls: Sequence[StudyRecord]) -> list[StudyRecord]:
    """Records with the tasks alone that have controls; none without one."""
    tasks = {row.task for record in controls for row in record.rows}
    found = [
        replace(record, rows=tuple(row for row in record.rows if row.task in tasks))
        for record in records
    ]
    return [record for record in found if record.rows]


def apart(records: Sequence[StudyRecord]) -> tuple[list[StudyRecord], list[StudyRecord]]:
    """Records without the rows of controls; those rows alone, called after the task they are of."""
    plain, controls = [], []
    for record in records:
        rows = tuple(row for row in record.rows if row.of is None)
        beside = tuple(row.replace(task=row.of) for row in record.rows if row.of is not None)
        plain.append(replace(record, rows=rows))
        controls += [replace(record, rows=beside)] if beside else []
    return plain, controls
