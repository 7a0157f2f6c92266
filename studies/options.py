"""A study's options from what was typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..core.errors import InputError, one_of, unknown
from .study import Study


def read_options(study: Study, given: Mapping[str, str | None]) -> Any:
    """A study's options from what was typed; None for a name without a value.

    Raises:
        InputError: an option it has not, or a value of another kind.
    """
    known = {f.name: f for f in fields(study.options)}
    read: dict[str, Any] = {}
    for name, text in given.items():
        if name not in known:
            dashed = [f"--{key.replace('_', '-')}" for key in known]
            raise unknown(f"option of {study.name}", f"--{name.replace('_', '-')}", dashed)
        default = known[name].default
        if text is None and not isinstance(default, bool):
            raise InputError(f"--{name.replace('_', '-')} needs a value")
        read[name] = _value(name, "true" if text is None else text, default)
    return study.options(**read)


def _value(name: str, text: str, default: Any) -> Any:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(default, bool):
        one_of(flag, text, ("true", "false"))
        return text == "true"
    if isinstance(default, tuple):
        kind = int if default and isinstance(default[0], int) else _kinds.get(name, str)
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if not parts:
            raise InputError(f"{flag} needs at least one value")
        return tuple(dict.fromkeys(_number(flag, part, kind) for part in parts))
    return _number(flag, text, type(default) if default is not None else str)


_kinds: dict[str, type] = {"starts": int}


def _number(flag: str, text: str, kind: type) -> Any:
    if kind is str:
        return text
    try:
        return kind(text)
    except ValueError as error:
        name = {int: "a whole number", float: "a number"}[kind]
        raise InputError(f"{flag} takes {name}, not '{text[:60]}'") from error
