"""Fields of a run file: changed from the command line; what is wrong with them, as sentences."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import yaml
from pydantic import BaseModel

from ..errors import ModelError


def override(fields: dict[str, Any], text: str) -> None:
    """Set a field as ``optimizer.lr=1e-3`` says.

    Raises:
        ModelError: text that says nothing of the kind.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ModelError(f"an override is name=value, e.g. optimizer.lr=1e-3, not '{text}'")
    *path, last = name.strip().split(".")
    place = fields
    for part in path:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise ModelError(f"'{part}' in {name} has no fields of its own")
    try:
        place[last] = _number(yaml.safe_load(value))
    except yaml.YAMLError as error:
        raise ModelError(f"the value of {name} cannot be read: {value}") from error


def _number(value: Any) -> Any:
    """YAML reads 1e-3 as text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def sentence(error: Any, model: type[BaseModel]) -> str:
    """What one of pydantic's errors about a model says.

    >>> from .runfile import Checkpoints
    >>> sentence({"type": "extra_forbidden", "loc": ("evry",)}, Checkpoints)
    'unknown field evry, did you mean every?'
    """
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        *path, last = error["loc"]
        kind: Any = model
        for part in path:
            if isinstance(part, str) and part in getattr(kind, "model_fields", {}):
                kind = _inner(kind.model_fields[part].annotation)
        known = list(getattr(kind, "model_fields", {}))
        near = get_close_matches(str(last), known, n=1)
        hint = f", did you mean {near[0]}?" if near else f" (known: {', '.join(known)})"
        return f"unknown field {place}{hint}"
    if error["type"] == "missing":
        return f"{place} is missing"
    message = error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _inner(annotation: Any) -> Any:
    """The model class inside ``X | None`` or ``tuple[X, ...]``."""
    for part in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None
