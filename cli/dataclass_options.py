"""Command-line options from a dataclass: a click option for each field, typed by its annotation."""

from __future__ import annotations

import types
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import click

from .command import Option

if TYPE_CHECKING:
    Type = click.ParamType[Any]
else:
    Type = click.ParamType  # generic in newer versions alone


class CommaSeparated(Type):
    """Values with commas between them, as a tuple without repeats.

    >>> CommaSeparated(click.INT).convert("1, 2,2", None, None)
    (1, 2)
    """

    def __init__(self, item: Type) -> None:
        self.item = item
        self.name = f"{item.name},..."

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Show the type of an item, and that there may be several."""
        return f"{self.item.get_metavar(param, ctx) or self.item.name.upper()},..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Split and convert; fail without any value."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",") if part.strip()]
        if not parts:
            self.fail("needs at least one value", param, ctx)
        return tuple(dict.fromkeys(self.item.convert(part, param, ctx) for part in parts))


class OptionalValue(Type):
    """Value of another type; an omitted option is None."""

    def __init__(self, item: Type) -> None:
        self.item = item
        self.name = item.name

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Show the type of the value."""
        return self.item.get_metavar(param, ctx)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert the value."""
        return None if value is None else self.item.convert(value, param, ctx)


def options_to_click(options: type[Any]) -> list[Option]:
    """Return a click option for each field of a dataclass, inherited fields last.

    Types are int, float, bool, str, Path, Literal (a choice), ``X | None`` and ``tuple[X, ...]``
    (values with commas). The help text is the metadata ``about`` of the field; ``flags`` and
    ``aliases`` are those of :func:`..studies.options.option`.

    >>> from dataclasses import dataclass, field
    >>> @dataclass
    ... class Options:
    ...     sizes: tuple[int, ...] = field(default=(), metadata={"about": "block sizes"})
    >>> options_to_click(Options)[0].opts
    ['--sizes']

    Raises:
        TypeError: a field of another type.
    """
    hints = get_type_hints(options)
    own = vars(options).get("__annotations__", {})
    ordered = sorted(fields(options), key=lambda option_field: option_field.name not in own)
    return [_option(option_field, hints[option_field.name]) for option_field in ordered]


def _option(option_field: Field[Any], annotation: Any) -> Option:
    default = (
        option_field.default
        if option_field.default_factory is MISSING
        else option_field.default_factory()
    )
    required = default is MISSING
    flag: dict[str, Any] = {"is_flag": False, "flag_value": True} if annotation is bool else {}
    own = flag_name(option_field.name)
    flags = option_field.metadata.get("flags") or (own,)
    older = (own, *option_field.metadata.get("aliases", ()))
    return Option(
        [*flags, option_field.name],
        aliases=[alias for alias in older if alias not in flags],
        type=_click_type(annotation),
        default=None if required else default,
        required=required,
        show_default=not required and default not in (None, (), ""),
        help=option_field.metadata.get("about"),
        **flag,
    )


def flag_name(name: str) -> str:
    """Return the flag of a field.

    >>> flag_name("skip_front")
    '--skip-front'
    """
    return f"--{name.replace('_', '-')}"


def _click_type(annotation: Any) -> Type:
    simple: dict[Any, Type] = {
        int: click.INT, float: click.FLOAT, bool: click.BOOL, str: click.STRING,
        Path: click.Path(path_type=Path),
    }  # fmt: skip
    if annotation in simple:
        return simple[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return click.Choice([str(value) for value in arguments])
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return CommaSeparated(_click_type(arguments[0]))
    others = [part for part in arguments if part is not type(None)]
    if origin in (Union, types.UnionType) and len(others) == 1 and len(others) < len(arguments):
        return OptionalValue(_click_type(others[0]))
    raise TypeError(f"no command-line option for the type {annotation}")
