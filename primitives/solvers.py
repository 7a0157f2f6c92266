"""Solvers: the answer of each primitive from its prompt alone.

They share no code with the generators, so that the two check each other. A solver parses packaged
prompts and returns None where the answer cannot be derived.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from ..core.errors import InputError, shown
from ..core.registry import Registry
from .task import TASKS

Solver = Callable[[str], str | None]
S = TypeVar("S", bound=Solver)


def _check_solver(name: str, solver: Any) -> Solver:
    if not callable(solver):
        raise InputError(f"the solver of {name} is a function of a prompt, not {shown(solver)}")
    checked: Solver = solver
    return checked


SOLVERS: Registry[Solver] = Registry("solver", None, _check_solver)
"""Name of a primitive -> its solver. A primitive of a plug-in may have none."""


def register_solver(task: str) -> Callable[[S], S]:
    """Register the solver of a primitive (function decorator).

    A plug-in registers its solver in the module of the primitive, or in one that its package
    imports.

    Args:
        task: name of the primitive.

    Example::

        @register_solver("reversal")
        def solve(prompt: str) -> str | None: ...
    """

    def register(solver: S) -> S:
        SOLVERS.register(task, solver, solver.__module__)
        return solver

    return register


def solver_of(task: str) -> Solver | None:
    """Return the solver of a primitive; None if it has none.

    Raises:
        InputError: an unknown primitive.
    """
    if task not in TASKS:
        raise TASKS.unknown(task)
    TASKS[task]  # a plug-in registers its solver when it is imported
    return SOLVERS.get(task)


@register_solver("variable_assignment")
def _variable_assignment(prompt: str) -> str | None:
    """Follow the aliases to a value; None for a cycle or an unbound name."""
    bindings = dict(re.findall(r"^([a-z]+) ?= ?(-?\d+|[a-z]+)$", prompt, re.MULTILINE))
    query = re.search(r"^([a-z]+)=____\. ->$|value of ([a-z]+)\?$", prompt, re.MULTILINE)
    if query is None:
        return None
    current: str = query[1] or query[2]
    for _ in range(len(bindings) + 1):
        if current not in bindings:
            return None
        current = bindings[current]
        if not current.isalpha():
            return current
    return None  # a circle


@register_solver("copying")
def _copying(prompt: str) -> str | None:
    """Find the segment in the sequence, and return the word after it."""
    match = re.fullmatch(r"Fill in the blank:\n(.*) ____ \. ->", prompt)
    if match is None:
        return None
    words = match[1].split(" ")
    sequence: list[str] = []
    while words and words[0] not in sequence:
        sequence.append(words.pop(0))
    if not words:
        return None
    start = sequence.index(words[0])
    after = start + len(words)
    if after >= len(sequence) or sequence[start:after] != words:
        return None
    return sequence[after]


@register_solver("addition")
def _addition(prompt: str) -> str | None:
    """Add the numbers."""
    if not re.fullmatch(r"\d+(\+\d+)+=", prompt):
        return None
    total = 0
    for number in prompt.rstrip("=").split("+"):
        total += int(number)
    return str(total)


@register_solver("preschool_math")
def _preschool_math(prompt: str) -> str | None:
    """Substitute the values into the signed sum."""
    parts = prompt.split(", ")
    values: dict[str, int] = {}
    for part in parts[:-1]:
        name, _, expression = part.partition("=")
        terms = re.findall(r"([+-]?)(\d+|[a-z])", expression)
        total = 0
        for sign, term in terms:
            if term.isalpha() and term not in values:
                return None
            value = values[term] if term.isalpha() else int(term)
            total += -value if sign == "-" else value
        values[name] = total
    query = parts[-1].removesuffix("=?")
    return str(values[query]) if query in values else None


@register_solver("p_hop")
def _p_hop(prompt: str) -> str | None:
    """Follow the hops token by token."""
    match = re.fullmatch(r"Hop back (\d+) times:\n(.*) ->", prompt)
    if match is None:
        return None
    tokens = match[2].split(" ")
    place = len(tokens) - 1
    for _ in range(int(match[1])):
        for j in range(place, 0, -1):
            if tokens[j - 1] == tokens[place]:
                place = j
                break
        else:
            place = 0
    return tokens[place]


@register_solver("symbolic_igsm")
def _symbolic_igsm(prompt: str) -> str | None:
    """Evaluate the queried symbol by depth-first search; None for a cycle or unknown symbol."""
    match = re.fullmatch(r"All arithmetic is modulo (\d+)\.\n(.*) (\S+)\?", prompt)
    if match is None:
        return None
    modulus = int(match[1])
    if not modulus:
        return None
    lines = {}
    for line in match[2].removesuffix(".").split(". "):
        name, _, right = line.partition(" := ")
        times = re.fullmatch(r"(\d+) \* (?:\((.*)\)|(.*))", right)
        whole = (times[2] or times[3]) if times else right
        terms = re.findall(r"(?:^|([+-]) )([^ ]+)", whole)
        lines[name] = (int(times[1]) if times else 1, terms)
    values: dict[str, int] = {}
    waiting = [match[3]]
    for _ in range(2 * len(lines) ** 2 + 2):  # each symbol waits at most for all others
        if not waiting:
            return str(values[match[3]])
        name = waiting[-1]
        if name not in lines:
            return None
        factor, terms = lines[name]
        missing = [term for _, term in terms if not term.isdigit() and term not in values]
        if missing:
            waiting.append(missing[0])
            continue
        total = 0
        for sign, term in terms:
            value = int(term) if term.isdigit() else values[term]
            total += -value if sign == "-" else value
        values[waiting.pop()] = factor * total % modulus
    return None  # a circle


def solve(task: str, prompt: str) -> str | None:
    """Solve a prompt; None where the answer cannot be derived.

    Raises:
        InputError: an unknown task, or one without a solver.

    >>> solve("variable_assignment", "Fill in blank:\\n\\no=23\\nk=3\\nk=____. ->")
    '3'
    """
    if (solver := solver_of(task)) is None:
        raise InputError(f"{task} has no solver: its answers cannot be derived")
    return solver(prompt)
