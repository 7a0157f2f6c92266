"""Version of the record format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from ..core.errors import InputError, shown

VERSION: Final[Literal[1]] = 1


def check_version(fields: Mapping[str, Any]) -> None:
    """Check the version of a record before its other fields.

    Raises:
        InputError: the version is missing, invalid, or newer than this package.
    """
    version = fields.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InputError(
            f"version: a whole number from 1 to {VERSION} is needed, not {shown(version)}"
        )
    if version > VERSION:
        raise InputError(
            f"version: the record has version {shown(version)}, this growloop reads up to "
            f"{VERSION}: update it"
        )
