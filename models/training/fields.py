"""Fields of a run file: overrides from the command line, and error messages."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from ...core.errors import InputError, shown
from ...core.strict_json import short
from .yaml_text import read_yaml

LONGEST = 400  # most characters of one of pydantic's messages
NEEDED = {  # pydantic's error type -> what the field needs
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "true or false"),
    "string_type": "text",
}


def override(fields: dict[str, Any], text: str) -> None:
    """Set one field in place, from an override such as ``optimizer.lr=1e-3``.

    Raises:
        InputError: the text is not ``name=value``, or the field cannot be nested there.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InputError(f"an override is name=value, e.g. optimizer.lr=1e-3, not {shown(text)}")
    *path, last = name.strip().split(".")
    place = fields
    for part in path:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise InputError(f"'{part}' in {name} has no fields of its own")
    place[last] = read_yaml(value, f"the value of {name.strip()}")


def check_number(value: Any, annotation: Any) -> Any:
    """Return the value of a field; refuse true and false for a number.

    pydantic would read them as 1 and 0.

    Raises:
        ValueError: the value is true or false, and the annotation is a number.

    >>> check_number(True, bool), check_number(1, int | None)
    (True, 1)
    """
    kinds = getattr(annotation, "__args__", (annotation,))
    if isinstance(value, bool) and bool not in kinds and {int, float} & {*kinds}:
        raise ValueError(f"a number is needed, not {str(value).lower()}")
    return value


def format_error(error: Any, model: type[BaseModel]) -> str:
    """Format one of pydantic's errors about a model as a message.

    >>> from .runfile_sections import Checkpoints
    >>> format_error({"type": "extra_forbidden", "loc": ("evry",)}, Checkpoints)
    'unknown field evry, did you mean every?'
    """
    place = ".".join(short(str(part)) for part in error["loc"])
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
    if (needed := NEEDED.get(error["type"])) is not None:
        quoted = " (in quotes)" if needed == "text" else ""
        return f"{place} is {needed}{quoted}, not {shown(error['input'])}"
    message = error["msg"].removeprefix("Value error, ")
    message = message if len(message) <= LONGEST else message[:LONGEST] + "…"
    return f"{place}: {message}" if place else message


def _inner(annotation: Any) -> Any:
    """Return the model class ``X`` inside ``X | None`` or ``tuple[X, ...]``; None without one."""
    for part in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None
