"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable

from ..primitives.errors import InputError


def parse_params(pairs: Iterable[str]) -> dict[str, str]:
    """``("depth=2", "style=code")`` as a dictionary.

    Raises:
        InputError: a pair has no ``=``, or a name comes twice with different values.
    """
    params: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise InputError(f"--param takes name=value, not '{pair}'")
        name = name.strip().replace("-", "_")
        if params.setdefault(name, value) != value:
            raise InputError(f"parameter {name} is given twice: {params[name]} and {value}")
    return params
