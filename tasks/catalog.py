"""Catalogue of growloop's tasks, and parsing of task names with parameters.

A name is a standard task (``variable_assignment_code_d2``) or a primitive
(``variable_assignment``), with parameters after colons: ``variable_assignment:style=code:depth=5``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from ..core.errors import InputError, unknown
from ..core.plugins import problem, warn
from ..primitives import STANDARD, TASKS, Task, golden, make_task

PATH = Path(__file__).parent / "yaml"
ITEMS = 1000  # test items: every published five-task mean is a multiple of 0.02 %
SHOTS = 5
FEWSHOT_POOL = 1000  # examples that few-shot prompts are drawn from

STYLES = ("basic", "math", "code")
GROUPS: dict[str, list[str]] = {
    f"reasoning_primitives{suffix}": [
        "copying_random_words",
        "copying_real_words",
        *(f"variable_assignment_{style}_d{depth}" for style in STYLES),
    ]
    for suffix, depth in (("", 0), ("_d1", 1), ("_d2", 2))
}


TASKS.reserve(GROUPS)


@dataclass(frozen=True)
class Entry:
    """Standard task, or primitive of a plug-in, as ``growloop tasks`` lists it.

    Args:
        chance: accuracy of guessing.
        capacity: lower bound of the number of different test items.
        fingerprint: SHA-256 of the first 10,000 test items; empty for plug-ins.
        origin: ``growloop``, or the plug-in.
    """

    name: str
    summary: str
    chance: float
    capacity: int
    version: int
    fingerprint: str
    origin: str = "growloop"


def entries() -> list[Entry]:
    """Return the standard tasks, and the primitives of plug-ins with their default parameters.

    Plug-ins that are broken are left out with a warning.
    """
    listed = []
    for name, (primitive, params) in STANDARD.items():
        task = make_task(primitive, params)
        digest = golden()[name]["sha256"]
        listed.append(
            Entry(name, task.summary, task.chance, task.capacity("test"), task.version, str(digest))
        )
    origins = TASKS.origins()
    for name, primitive_class in TASKS.working(origins):
        try:
            task = primitive_class()
            facts = task.summary, task.chance, task.capacity("test"), task.version
        except Exception as error:  # code of others raises anything
            warn(f"the primitive '{name}' of {origins[name]} cannot be used: {problem(error)}")
            continue
        listed.append(Entry(name, *facts, "", str(origins[name])))
    return listed


def _parameters(name: str) -> set[str]:
    return {f.name for f in fields(TASKS[name]) if f.init}  # type: ignore[arg-type]


def resolve(spec: str, params: Mapping[str, object] | None = None) -> Task | None:
    """Return the task of a name; None if the name is not one of growloop's.

    Args:
        spec: a name, perhaps with parameters after colons.
        params: further parameters; those the primitive does not have are ignored, so that
            ``depth=5`` can be given for a group whose copying tasks have no depth.

    >>> resolve("variable_assignment_code_d0", {"depth": 3}).label
    'variable_assignment_code_d3'

    Raises:
        InputError: an unknown parameter, or a value that is not allowed.
    """
    name, *pairs = spec.split(":")
    if name not in STANDARD and name not in TASKS:
        return None
    primitive, fixed = STANDARD.get(name, (name, {}))
    own: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"task '{spec}': parameters are written name=value, not '{pair}'")
        if key not in _parameters(primitive):
            raise unknown(f"parameter of {primitive}", key, sorted(_parameters(primitive)))
        own[key] = value
    more = {k: v for k, v in (params or {}).items() if k in _parameters(primitive)}
    return make_task(primitive, {**fixed, **more, **own})


def check_params(params: Mapping[str, object]) -> None:
    """Refuse a parameter that no primitive has."""
    own = {name for task in TASKS.own() for name in _parameters(task)}
    if params.keys() <= own:
        return
    known = own.union(*(_parameters(name) for name, _ in TASKS.working()))
    for key in params:
        if key not in known:
            raise unknown("parameter", key, sorted(known))
