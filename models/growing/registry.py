"""Registry of growth operators: functions from a depth to a growth map, of growloop and plug-ins.

An operator can also be named as ``module:function``, or given as a function.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ...core import plugins
from ...core.errors import InputError, shown, unknown
from ...core.registry import Registry

Function = TypeVar("Function", bound=Callable[..., Any])
REFERENCE = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_][\w.]*)")


def _check(name: str, operator: Any) -> Callable[..., Any]:
    """Refuse an operator that is not a function of a depth.

    Raises:
        InputError: saying what an operator is.
    """
    if not callable(operator) or isinstance(operator, type):
        raise InputError(
            f"a growth operator is a function of the number of layers, not {shown(operator)}"
        )
    checked: Callable[..., Any] = operator
    return checked


OPERATORS: Registry[Callable[..., Any]] = Registry("growth operator", "growloop.operators", _check)
"""Name -> function from a depth (and options) to a growth map."""

MOVED = {"growloop.models.growing.maps": "growloop.models.growing.operators"}
"""Former module of growloop's operators -> module that has them now; run files name the former."""


def register_operator(name: str) -> Callable[[Function], Function]:
    """Register a growth operator under a name (function decorator).

    Raises:
        InputError: the name is taken.

    Example::

        @register_operator("repeat_last")
        def repeat_last(depth: int, block_size: int = 4) -> list[int]:
            return [*range(depth), *range(depth - block_size, depth)]
    """

    def register(function: Function) -> Function:
        OPERATORS.register(name, function, function.__module__)
        return function

    return register


def is_reference(operator: object) -> bool:
    """Return whether a text is ``module:function``.

    >>> is_reference("maps:widen"), is_reference("0:4,2:6"), is_reference("lidas")
    (True, False, False)
    """
    return isinstance(operator, str) and REFERENCE.fullmatch(operator.strip()) is not None


def find_operator(operator: object) -> Callable[..., Any] | None:
    """Return the function of an operator; None for a list of layers in any form.

    Raises:
        InputError: an unknown name, or a function that cannot be imported.
    """
    if not isinstance(operator, str):
        return operator if callable(operator) else None
    if operator in OPERATORS:
        return OPERATORS[operator]
    if is_reference(operator):
        return _imported(operator.strip())
    if not operator.strip() or operator.strip()[0].isalpha():
        raise OPERATORS.unknown(operator)
    return None


def _imported(reference: str) -> Callable[..., Any]:
    """Import ``module:function``, and note its origin for records."""
    module, _, attribute = reference.partition(":")
    try:
        found: Any = importlib.import_module(MOVED.get(module, module))
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # code of others raises anything
        raise plugins.PluginError(
            f"the growth operator {reference} cannot be imported: {plugins.problem(error)}"
        ) from error
    if (origin := plugins.origin_of(module)) is not None:
        plugins.use(origin)
    return _check(reference, found)


def name_of(operator: object) -> str:
    """Return the name of an operator for messages and ``growth_history``.

    >>> from growloop.models.growing.operators import midas
    >>> name_of("lidas"), name_of(midas)
    ('lidas', 'growloop.models.growing.operators:midas')
    """
    if isinstance(operator, str):
        return operator.strip()
    name = getattr(operator, "__qualname__", type(operator).__qualname__)
    return f"{getattr(operator, '__module__', '')}:{name}"


def origin_of_operator(name: str) -> plugins.Origin | None:
    """Return the plug-in or module of a named operator; None for growloop's own."""
    if name in OPERATORS:
        return OPERATORS.origin(name)
    return plugins.origin_of(name.partition(":")[0]) if is_reference(name) else None


def identity_of(name: str) -> str | None:
    """Return plug-in, version and code digest of a named operator; None for growloop's own.

    ``growth_history`` and so the config of a grown model hold it.
    """
    origin = origin_of_operator(name)
    return None if origin is None else f"{origin.name} {origin.identity}"


def check_options(function: Callable[..., Any], name: str, options: Iterable[str]) -> None:
    """Refuse options that an operator does not have, or leaves without a value.

    Raises:
        InputError: naming the option.
    """
    given = list(options)
    accepted, more = accepted_options(function)
    for option in given:
        if option not in accepted and not more:
            raise unknown(f"option of {name}", option, accepted)
    for option, needed in accepted.items():
        if needed and option not in given:
            raise InputError(f"the growth operator {name} needs its option {option}")


def accepted_options(function: Callable[..., Any]) -> tuple[dict[str, bool], bool]:
    """Return the options of an operator, each with whether it is needed; and whether it takes any.

    >>> accepted_options(lambda depth, block_size=4: [])
    ({'block_size': False}, False)
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a function written in C
        return {}, True
    more = any(p.kind is p.VAR_KEYWORD for p in parameters)
    own = [p for p in parameters[1:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return {p.name: p.default is p.empty for p in own}, more
