"""The JSON Schema of a record, for whoever writes them without this package.

``python -m growloop.leaderboard.schema`` prints it; the file beside this one is its output.
"""

from __future__ import annotations

import json
from pathlib import Path

from .records import Record

PATH = Path(__file__).parent / "record.schema.json"


def schema() -> str:
    """The schema as text."""
    found = Record.model_json_schema()
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
