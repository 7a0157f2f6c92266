"""JSON as records are written and read: one way to write, no doubt when reading."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..core.errors import InputError, shown
from ..core.strict_json import StrictError, loads


def canonical(fields: Mapping[str, Any]) -> str:
    """The one way to write a JSON object: sorted, without blanks."""
    return json.dumps(
        fields, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )


def digest(text: str) -> str:
    """SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def parse(text: str | bytes) -> dict[str, Any]:
    """A JSON object, strictly: no NaN or infinity, no name twice, UTF-8.

    Raises:
        InputError: saying what it is instead.
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        found = loads(decoded, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start + 1} is not UTF-8") from None
    except InputError:
        raise
    except StrictError as error:
        raise InputError(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"it is not JSON: {str(error)[:100]}") from None
    if not isinstance(found, dict):
        raise InputError(f"it is not a JSON object but {shown(found)}")
    return found


def _no_constant(name: str) -> Any:
    raise InputError(f"{name} is no number that a record can hold")
