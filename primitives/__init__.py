"""Reasoning primitives: synthetic data sets as pure functions of their coordinates.

>>> item = generate("variable_assignment", count=1, split="test", style="code", depth=2)[0]
>>> solve(item.task, item.prompt) == item.target
True

Needs only numpy and jinja2.
"""

from __future__ import annotations

from ..core.errors import InputError, whole
from .addition import Addition
from .bits import SPLITS, Partition
from .copying import Copying
from .items import MAX_INDEX, Batch, Item, Source
from .p_hop import PHop
from .preschool_math import PreschoolMath
from .solvers import register_solver, solve
from .standard import STANDARD, fingerprint, golden, standard_task
from .symbolic_igsm import SymbolicIGSM
from .task import TASKS, Content, Task, make_task, register_primitive
from .templating import Template
from .text import Column, Table
from .uniqueness import different
from .variable_assignment import VariableAssignment
from .verification import Verdict, verify
from .writing import FORMATS, Report, export

__all__ = [
    "FORMATS",
    "SPLITS",
    "STANDARD",
    "TASKS",
    "Addition",
    "Batch",
    "Column",
    "Content",
    "Copying",
    "InputError",
    "Item",
    "PHop",
    "Partition",
    "PreschoolMath",
    "Report",
    "Source",
    "SymbolicIGSM",
    "Table",
    "Task",
    "Template",
    "VariableAssignment",
    "Verdict",
    "different",
    "export",
    "fingerprint",
    "generate",
    "golden",
    "make_task",
    "register_primitive",
    "register_solver",
    "solve",
    "standard_task",
    "verify",
]


def generate(
    task: str, count: int, split: str = "test", seed: int = 0, **params: object
) -> list[Item]:
    """Generate the first ``count`` different items of a task, as ``growloop generate`` does.

    >>> generate("copying", 2, words="real") == generate("copying", 3, words="real")[:2]
    True

    Raises:
        InputError: unknown task, split or parameter, or a value that is not allowed.
    """
    whole("count", count, 1, MAX_INDEX)
    return different(Source(make_task(task, params), split, seed), count)
