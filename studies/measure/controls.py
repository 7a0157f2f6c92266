"""Counterfactual controls: altered questions whose answer cannot be derived from the prompt.

A gain on the controls is not reasoning: the model guesses better, or knows the form of an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...core.errors import InputError, one_of
from ...tasks.catalog import resolve
from ...tasks.questions import task_names
from ..records import NO_CONTROL, StudyRecord
from .accuracy import check_accuracy

CONTROLS = (NO_CONTROL, "cut", "shuffled")


def control_task(name: str, control: str) -> str | None:
    """Return the control version of a task; None if the task has no such control."""
    if control == NO_CONTROL:
        return None
    try:
        task = resolve(f"{name}:control={control}")
    except InputError:
        return None
    return None if task is None else f"{name}:control={control}"


def check_control(names: Sequence[str], control: str) -> None:
    """Check before the slow part that a task has the control.

    Raises:
        InputError: the control is unknown, or none of the tasks has it.
    """
    one_of("control", control, CONTROLS)
    if control != NO_CONTROL and not any(control_task(name, control) for name in names):
        raise InputError(f"none of the tasks has questions with control '{control}'")


def check_scoring(options: Any) -> None:
    """Check tasks, numbers and control before the slow part.

    Args:
        options: options of a study with ``tasks``, ``items``, ``shots``, ``seed``, ``split`` and
            ``control``.

    Raises:
        InputError: a task or the control is unknown, or a number is out of range.
    """
    check_accuracy(options.tasks, options.items, options.shots, options.seed, options.split)
    check_control(task_names(options.tasks), options.control)


def with_controls(names: Sequence[str], control: str) -> list[tuple[str, dict[str, Any]]]:
    """Return tasks and then their controls, each with the extra columns of its rows.

    >>> with_controls(["copying_real_words", "variable_assignment_math_d0"], "cut")[1:]
    [('variable_assignment_math_d0', {}), ('variable_assignment_math_d0:control=cut', \
{'control': 'cut', 'of': 'variable_assignment_math_d0'})]
    """
    tasks: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in names]
    for name in names:
        if (other := control_task(name, control)) is not None:
            task = resolve(name)
            assert task is not None
            tasks.append((other, {"control": control, "of": task.label}))
    return tasks


def keep_controlled_tasks(
    records: Sequence[StudyRecord], controls: Sequence[StudyRecord]
) -> list[StudyRecord]:
    """Keep only the rows of tasks that have controls, and only records with such rows."""
    tasks = {row.task for record in controls for row in record.rows}
    controlled = [
        replace(record, rows=tuple(row for row in record.rows if row.task in tasks))
        for record in records
    ]
    return [record for record in controlled if record.rows]


def split_controls(records: Sequence[StudyRecord]) -> tuple[list[StudyRecord], list[StudyRecord]]:
    """Split records into those without control rows and those with control rows only.

    A control row gets the name of its original task.
    """
    plain, controls = [], []
    for record in records:
        rows = tuple(row for row in record.rows if row.of is None)
        control_rows = tuple(row.replace(task=row.of) for row in record.rows if row.of is not None)
        plain.append(replace(record, rows=rows))
        controls += [replace(record, rows=control_rows)] if control_rows else []
    return plain, controls
