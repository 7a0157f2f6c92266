"""Options that several commands share: each is declared once, so one thing has one name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import click

from ..core.errors import InputError, unknown
from ..core.remote_code import OPTION, trusting
from .command import Option

Function = TypeVar("Function", bound=Callable[..., Any])


def option(*flags: str, **settings: Any) -> Callable[[Function], Function]:
    """Return a decorator that adds an :class:`~.command.Option`."""
    return click.option(*flags, cls=Option, **settings)


def model_option(help: str, **settings: Any) -> Callable[[Function], Function]:
    """``-m/--model``."""
    return option("--model", "-m", help=help, group="model", **settings)


def model_argument(function: Function) -> Function:
    """Add MODEL, which may also be given by ``-m/--model``."""

    @functools.wraps(function)
    def with_model(*args: Any, model: str | None, model_again: str | None, **rest: Any) -> Any:
        if model is not None and model_again is not None:
            raise InputError(f"the model is given twice: {model} and --model {model_again}")
        chosen = model_again if model is None else model
        if chosen is None:
            raise InputError("which model? give MODEL: hub id, folder, GGUF file or package:NAME")
        return function(*args, model=chosen, **rest)

    again = option("--model", "-m", "model_again", group="model", help="the same as MODEL")
    argument = click.argument("model", required=False, metavar="MODEL")
    return cast(Function, argument(again(with_model)))


def tasks_option(help: str, **settings: Any) -> Callable[[Function], Function]:
    """``-t/--tasks``."""
    return option("--tasks", "-t", help=help, group="tasks", **settings)


def items_option(help: str, **settings: Any) -> Callable[[Function], Function]:
    """``-n/--items``."""
    return option("--items", "-n", type=int, help=help, group="tasks", **settings)


def shots_option(help: str, **settings: Any) -> Callable[[Function], Function]:
    """``-k/--shots``."""
    return option("--shots", "-k", help=help, group="tasks", **settings)


def param_option(help: str) -> Callable[[Function], Function]:
    """``-p/--param``."""
    return option(
        "--param", "-p", multiple=True, metavar="NAME=VALUE", help=help, group="tasks"
    )  # fmt: skip


def seed_option(help: str, **settings: Any) -> Callable[[Function], Function]:
    """``--seed``."""
    return option(
        "--seed", type=int, default=0, show_default=True, help=help, group="tasks", **settings
    )


def dtype_option(
    default: str = "auto", help: str = "dtype of the weights: auto, float32, bfloat16, float16"
) -> Callable[[Function], Function]:
    """``--dtype``."""
    return option("--dtype", default=default, show_default=True, help=help, group="model")


TRAINING_DTYPES = {"bfloat16": "bf16", "float32": "fp32", "bf16": "bf16", "fp32": "fp32"}
"""Value of ``--dtype`` in training -> ``precision`` of the run file."""


def training_dtype_option(default: str | None, shown: str) -> Callable[[Function], Function]:
    """``--dtype`` of matrix products in training; passes the ``precision`` of the run file."""

    def precision(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        del ctx, param
        if value is None:
            return None
        if value not in TRAINING_DTYPES:
            raise unknown("dtype", value, ["bfloat16", "float32"])
        return TRAINING_DTYPES[value]

    return option(
        "--dtype",
        aliases=("--precision",),
        default=default,
        callback=precision,
        group="model",
        help=f"bfloat16 or float32, of matrix products  {shown}",
    )


def device_option(
    help: str = "cpu, cuda, cuda:1, mps  [default: a GPU if there is one]",
) -> Callable[[Function], Function]:
    """``--device``."""
    return option("--device", help=help, group="model")


def out_option(help: str, **settings: Any) -> Callable[[Function], Function]:
    """``-o/--out``."""
    return option("--out", "-o", help=help, group="output", **settings)


def plan_option(help: str, *names: str, **settings: Any) -> Callable[[Function], Function]:
    """``--plan``."""
    return option("--plan", *names, is_flag=True, help=help, **settings)


def force_option(help: str, **settings: Any) -> Callable[[Function], Function]:
    """``--force``."""
    return option("--force", is_flag=True, help=help, group="output", **settings)


def picture_option(help: str, **settings: Any) -> Callable[[Function], Function]:
    """``--picture``."""
    text = f"{help}: .html, .svg, .png, .pdf or .json"
    return option("--picture", metavar="FILE", help=text, group="output", **settings)


def leaderboard_option(help: str, *names: str, **settings: Any) -> Callable[[Function], Function]:
    """``--leaderboard FOLDER``."""
    return option(
        "--leaderboard", *names, metavar="FOLDER", help=help, group="output", **settings
    )  # fmt: skip


def json_option(help: str = "print the table as JSON") -> Callable[[Function], Function]:
    """``--json``."""
    return option("--json", "as_json", is_flag=True, help=help, group="output")


def table_options(
    json: str = "print the table as JSON", csv: str = "print the table as CSV"
) -> Callable[[Function], Function]:
    """Add ``--json`` and ``--csv``, of which one may be given.

    Args:
        json, csv: help texts.
    """

    def add(function: Function) -> Function:
        @functools.wraps(function)
        def either(*args: Any, **values: Any) -> Any:
            if values["as_json"] and values["as_csv"]:
                raise InputError("give --json or --csv, not both")
            return function(*args, **values)

        as_csv = option("--csv", "as_csv", is_flag=True, help=csv, group="output")
        return cast(Function, json_option(json)(as_csv(either)))

    return add


def trust_option(function: Function) -> Function:
    """Add ``--trust-remote-code``, which applies while the command runs."""

    def permit(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        del param
        ctx.with_resource(trusting(value))

    return option(
        OPTION,
        is_flag=True,
        expose_value=False,
        callback=permit,
        group="model",
        help="run Python code that comes with the model: read it first",
    )(function)


def parse_params(pairs: Iterable[str], flag: str = "--param") -> dict[str, str]:
    """Parse pairs such as ``("depth=2", "style=code")`` to a dictionary.

    Args:
        flag: option that holds the pairs, for messages.

    Raises:
        InputError: a pair has no ``=``, or a name comes twice with different values.
    """
    params: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise InputError(f"{flag} takes name=value, not '{pair}'")
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
