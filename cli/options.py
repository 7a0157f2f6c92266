"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from ..core.errors import InputError
from ..core.remote_code import OPTION, trusting

Command = TypeVar("Command", bound=Callable[..., Any])


def trust_option(command: Command) -> Command:
    """Add ``--trust-remote-code``, which applies while the command runs."""

    def permit(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        del param
        ctx.with_resource(trusting(value))

    return click.option(
        OPTION,
        is_flag=True,
        expose_value=False,
        callback=permit,
        help="run Python code that comes with the model: read it first",
    )(command)


def parse_params(pairs: Iterable[str]) -> dict[str, str]:
    """Parse pairs such as ``("depth=2", "style=code")`` to a dictionary.

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


def whole_numbers(text: str, option: str) -> list[int]:
    """Parse numbers such as ``0,1,2,4``; return them in ascending order.

    Raises:
        InputError: not whole numbers, or a repeated number.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 9 for part in parts):
        raise InputError(f"{option} takes whole numbers with commas, such as 0,1,2,4, not '{text}'")
    numbers = [int(part) for part in parts]
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{option} names a number twice: {text}")
    return sorted(numbers)
