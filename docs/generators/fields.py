"""Reference of the fields of a run file and of a record, from their JSON Schemas."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from commands import cell
from docstrings import parsed
from growloop.leaderboard.schema import PATH
from growloop.models.training.runfile import Run

Schema = dict[str, Any]

RUN_FILE = """\
A run file is YAML. `growloop recipe NAME` writes one, `growloop train FILE field=value` changes
fields, and `growloop train FILE --plan` checks it. See [training](../training.md).
"""
RECORD = """\
A record is one measured value, a line of JSON in a folder of records. Its JSON Schema is
`leaderboard/record.schema.json`, for tools that write records without growloop. See
[leaderboard](../leaderboard.md).
"""
BOUNDS = {
    "minimum": "≥ ",
    "exclusiveMinimum": "&gt; ",
    "maximum": "≤ ",
    "exclusiveMaximum": "&lt; ",
}


def pages() -> dict[str, str]:
    """Return path -> Markdown of both pages."""
    record = json.loads(PATH.read_text(encoding="utf-8"))
    return {
        "reference/run-file.md": _page("Run file", RUN_FILE, Run.model_json_schema()),
        "reference/record.md": _page("Record", RECORD, record),
    }


def _page(title: str, introduction: str, schema: Schema) -> str:
    lines = [f"# {title}", "", introduction]
    lines += _section(schema, skip_text=True)
    for name, part in schema["$defs"].items():
        lines += [f"## {name}", "", *_section(part)]
    return "\n".join(lines)


def _section(schema: Schema, skip_text: bool = False) -> Iterator[str]:
    """Yield what an object is, and a table of its fields."""
    text, meanings = parsed(schema.get("description", ""))
    if not skip_text:
        yield f"{text}\n"
    yield "| field | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, field in schema["properties"].items():
        default = "required" if name in schema.get("required", ()) else _default(field)
        cells = f"`{name}`", type_of(field), default, meanings.get(name, "")
        yield "| " + " | ".join(map(cell, cells)) + " |"
    yield ""


def _default(field: Schema) -> str:
    default = field.get("default", {} if field.get("type") == "object" else None)
    if isinstance(default, dict) and "$ref" in field:
        return "its defaults"
    return "" if default in (None, {}, []) else f"`{json.dumps(default)}`"


def type_of(field: Schema) -> str:
    """Return the type of a field and its limits.

    >>> type_of({"type": "integer", "minimum": 1})
    'integer, ≥ 1'
    >>> type_of({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]})
    'list of string, or none'
    """
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        kinds = [type_of(kind) for kind in field["anyOf"] if kind.get("type") != "null"]
        none = ["none"] * any(kind.get("type") == "null" for kind in field["anyOf"])
        return ", or ".join(dict.fromkeys(kinds + none))
    if "enum" in field or "const" in field:
        values = field.get("enum", [field.get("const")])
        return " or ".join(f"`{json.dumps(value)}`" for value in values)
    kind = field.get("type")
    if kind == "array":
        parts = field.get("prefixItems")
        if parts:
            return "pair of " + " and ".join(dict.fromkeys(type_of(part) for part in parts))
        return f"list of {type_of(field.get('items', {}))}"
    if kind == "object":
        values = field.get("additionalProperties")
        return f"map of names to {type_of(values if isinstance(values, dict) else {})}"
    if kind is None:
        return "any value"
    limits = [f"{sign}{_number(field[name])}" for name, sign in BOUNDS.items() if name in field]
    return ", ".join([str(kind), *limits])


def _number(value: float) -> str:
    """Return a limit: a large power of two or ten by its exponent.

    >>> _number(2**24), _number(10**18), _number(1e100), _number(999_999_999), _number(5)
    ('2^24', '10^18', '10^100', '999999999', '5')
    """
    for base, exponent in ((2, math.log2(value)), (10, math.log10(value))) if value > 9999 else ():
        if math.isclose(base ** round(exponent), value, rel_tol=1e-15):
            return f"{base}^{round(exponent)}"
    return str(value)
