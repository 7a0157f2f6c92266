"""Write records as canonical JSON, and read JSON strictly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..core.errors import InputError, shown
from ..core.strict_json import StrictError, loads


def canonical(fields: Mapping[str, Any]) -> str:
    """Return a JSON object with sorted keys and no blanks.

    >>> canonical({"b": 1, "a": [2]})
    '{"a":[2],"b":1}'
    """
    return json.dumps(
        fields, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )


def digest(text: str) -> str:
    """Return the SHA-256 of a text as hex digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def parse(text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object in UTF-8, without NaN, infinity or repeated names.

    Raises:
        InputError: the text is something else; the message says what.
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        content = loads(decoded, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start + 1} is not UTF-8") from None
    except InputError:
        raise
    except StrictError as error:
        raise InputError(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"it is not JSON: {str(error)[:100]}") from None
    if not isinstance(content, dict):
        raise InputError(f"it is not a JSON object but {shown(content)}")
    return content


def _refuse_constant(name: str) -> Any:
    raise InputError(f"{name} is not a number that a record can hold")
