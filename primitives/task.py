"""Primitive: a frozen set of parameters that turns random draws into columns of items.

``Task`` is the base class of all primitives; ``register_primitive`` adds one by name, growloop's
own and those of plug-ins, and ``make_task`` builds one from a name and parameters. A *control*
(parameter ``control``) is a counterfactual version of a task: ``cut`` removes what the answer
follows from, ``shuffled`` changes which answer follows.
"""

from __future__ import annotations

import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, shown, unknown
from ..core.registry import Registry
from .bits import Array, Partition
from .templating import Template
from .text import Column, Table

CONTROLS = ("none", "cut", "shuffled")


def later(default: Any) -> Any:
    """Declare a parameter that was added to a task after its first release.

    At its default it is left out of an item's parameters, and so of its coordinates: items
    generated before it existed do not change.
    """
    return dataclasses.field(default=default, metadata={"later": True})


@dataclass(frozen=True)
class Content:
    """Columns of ``count`` items.

    Args:
        slots: slot name -> column that fills it in the prompt.
        table: strings of the choices.
        choices: codes of ``table``, ``(k, count)``.
        answer: index of the right choice, ``(count,)``.
        original: answer without the control, ``(count,)``; None for uncontrolled items.
    """

    slots: dict[str, Column]
    table: Table
    choices: Array
    answer: NDArray[np.integer]
    original: NDArray[np.integer] | None = None


class Task(ABC):
    """Primitive with its parameters; a subclass is a frozen dataclass of them.

    Raise a task's ``version`` when its output for some parameters changes. ``addition.py`` is the
    shortest example of a subclass.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    summary: ClassVar[str]
    unkeyed: ClassVar[tuple[str, ...]] = ("control",)
    """Parameters that do not affect which items are drawn: a control alters the same item."""
    delimiter: ClassVar[str] = " "
    """String between a prompt and its answer."""

    @property
    @abstractmethod
    def template(self) -> str | Template:
        """Template of the prompt.

        A name is the file ``templates/NAME.j2`` beside the module that defines the task.
        """

    @property
    @abstractmethod
    def partition(self) -> Partition:
        """Part of an item that decides its split."""

    @abstractmethod
    def ranges(self, split: str) -> list[int]:
        """Return the ranges of an item's random numbers: draw ``j`` is below ``ranges[j]``."""

    @abstractmethod
    def content(self, draws: Array, split: str) -> Content:
        """Make items from random numbers below :meth:`ranges`, ``(len(ranges), count)``."""

    @abstractmethod
    def context(self, slot: Callable[[str], str]) -> dict[str, Any]:
        """Return the template's variables, with ``slot(name)`` for text that differs by item."""

    @property
    @abstractmethod
    def combinations(self) -> int:
        """Lower bound of the number of different prompts, over all splits."""

    @property
    @abstractmethod
    def options(self) -> int:
        """Number of answer options of an item; chance is ``1 / options``."""

    @abstractmethod
    def splits_of(self, prompts: list[str]) -> list[str]:
        """Return the split of each prompt, derived from its content.

        Prompts must be uncontrolled and in the packaged wording; a controlled item has the split of
        its original.

        Raises:
            ValueError: a prompt that is not of this task.
        """

    @property
    def stem(self) -> tuple[str, tuple[str, ...]]:
        """Short name, and the names of the parameters that it includes; by default the task's name.

        For example ``("addition_4", ("operands",))``.
        """
        return self.name, ()

    @property
    def label(self) -> str:
        """Name that results are reported under: the stem and parameters that are not default.

        >>> from growloop.primitives import make_task
        >>> make_task("variable_assignment", {"depth": 5, "order": "shuffled"}).label
        'variable_assignment_basic_d5:order=shuffled'
        """
        stem, named = self.stem
        try:
            defaults = type(self)(**{name: getattr(self, name) for name in named}).params
        except InputError:  # the parameters in the stem are not valid with the other defaults
            defaults = type(self)().params
        rest = {k: v for k, v in self.params.items() if k not in named and v != defaults.get(k)}
        return ":".join([stem, *(f"{key}={value}" for key, value in rest.items())])

    @property
    def chance(self) -> float:
        return 1 / self.options

    @property
    def params(self) -> dict[str, Any]:
        """Parameters as JSON-able values, without :func:`later` ones at their defaults."""
        return {
            f.name: value
            for f in dataclasses.fields(self)  # type: ignore[arg-type]
            if (value := getattr(self, f.name)) != f.default or not f.metadata.get("later")
        }

    @property
    def uncontrolled(self) -> Task:
        """Same task without a control; the task itself if it has no parameter ``control``."""
        if "control" not in self.params:
            return self
        params = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}  # type: ignore[arg-type]
        return type(self)(**{**params, "control": "none"})

    @property
    def keyed(self) -> dict[str, Any]:
        """Parameters that decide which items are drawn."""
        return {k: v for k, v in self.params.items() if k not in self.unkeyed}

    def capacity(self, split: str) -> int:
        """Return the number of different items of a split (a lower bound)."""
        return self.partition.share(self.combinations, split)


T = TypeVar("T", bound=type[Task])


def _check_primitive(name: str, task: Any) -> Any:
    """Refuse an object that is not a complete task class of this name.

    Raises:
        InputError: saying what is missing.
    """
    if not (isinstance(task, type) and issubclass(task, Task)):
        raise InputError(
            f"a primitive is a subclass of growloop.primitives.Task, not {shown(task)}"
        )
    if not NAME.fullmatch(name):
        raise InputError(f"a primitive is named in a-z, 0-9 and _, not {shown(name)}")
    for attribute, kind in (("name", str), ("version", int), ("summary", str)):
        if not isinstance(getattr(task, attribute, None), kind):
            raise InputError(f"{task.__name__} needs {attribute}: ClassVar[{kind.__name__}]")
    if task.name != name:
        raise InputError(f"{task.__name__} is named '{task.name}', its entry point '{name}'")
    if absent := sorted(getattr(task, "__abstractmethods__", ())):
        raise InputError(f"{task.__name__} does not define {', '.join(absent)}")
    if not hasattr(task, "__dataclass_fields__"):
        raise InputError(f"{task.__name__} is not a dataclass: add @dataclass(frozen=True)")
    return task


NAME = re.compile(r"[a-z][a-z0-9_]*")
TASKS: Registry[type[Task]] = Registry("task", "growloop.primitives", _check_primitive)
"""Name -> primitive, those of plug-ins included."""


def register_primitive(task: T) -> T:
    """Register a task class under its name (class decorator, above ``@dataclass``).

    Raises:
        InputError: the name is taken, or the class is incomplete.

    Example::

        @register_primitive
        @dataclass(frozen=True)
        class Reversal(Task): ...
    """
    TASKS.register(getattr(task, "name", task.__name__), task, task.__module__)
    return task


def _convert(field: dataclasses.Field[Any], value: object) -> object:
    """Convert a value to the type of ``field``; strings are parsed as on a command line.

    Raises:
        InputError: a value of another type.
    """
    kind = str(field.type)
    original = value
    if isinstance(value, str) and "str" not in kind:
        text = value.strip().lower()
        if "None" in kind and text in {"none", "null", ""}:
            return None
        if "bool" in kind:
            value = {"true": True, "false": False, "1": True, "0": False}.get(text, value)
        else:
            value = int(text) if re.fullmatch(r"-?[0-9]{1,30}", text) else value
    expected: tuple[type, ...] = (bool,) if "bool" in kind else (int,) if "int" in kind else (str,)
    if value is None and "None" in kind:
        return None
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
        name = {bool: "true or false", int: "a whole number", str: "a text"}[expected[0]]
        raise InputError(f"parameter {field.name} must be {name}, not {shown(original)}")
    return value


def make_task(name: str, params: Mapping[str, object] | None = None) -> Task:
    """Make a task by name; parameters may be strings, as from a command line.

    >>> make_task("variable_assignment", {"style": "code", "depth": "2"}).chance
    0.2

    Raises:
        InputError: unknown task or parameter, or a value that is not allowed.
    """
    if name not in TASKS:
        raise TASKS.unknown(name)
    task_class = TASKS[name]
    fields = {f.name: f for f in dataclasses.fields(task_class) if f.init}  # type: ignore[arg-type]
    converted = {}
    for key, value in (params or {}).items():
        if key not in fields:
            raise unknown(f"parameter of {name}", key, fields)
        converted[key] = _convert(fields[key], value)
    return task_class(**converted)
