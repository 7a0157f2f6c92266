"""JSON Schema of a record, for tools that write records without this package.

``python -m growloop.leaderboard.schema`` prints the schema; ``record.schema.json`` is its output.
"""

from __future__ import annotations

import json
from pathlib import Path

from .records import Record

PATH = Path(__file__).parent / "record.schema.json"


def schema() -> str:
    """Return the schema as JSON text."""
    fields = Record.model_json_schema()
    fields = {"$schema": "https://json-schema.org/draft/2020-12/schema", **fields}
    return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
