"""Records of earlier versions are read for ever: each step turns one version into the next.

Files are never rewritten; a record is brought up to date when it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from ..core.errors import InputError, shown

VERSION: Final[Literal[1]] = 1

Step = Callable[[dict[str, Any]], dict[str, Any]]

STEPS: dict[int, Step] = {}
"""What turns a record of version n into one of version n + 1."""


def migrate(
    fields: Mapping[str, Any], steps: Mapping[int, Step] = STEPS, to: int = VERSION
) -> dict[str, Any]:
    """The fields of a record as the version ``to`` has them.

    Raises:
        InputError: a version that is not known here.
    """
    found = dict(fields)
    version = found.get("version")
    if isinstance(version, bool) or not isinstance(version, int):
        raise InputError(f"version: a whole number from 1 to {to} is needed, not {shown(version)}")
    if version > to:
        raise InputError(
            f"version: the record has version {shown(version)}, this growloop reads up to {to}: "
            "update it"
        )
    if version < 1:
        raise InputError(f"version: a whole number from 1 to {to} is needed, not {version}")
    for step in range(version, to):
        found = {**steps[step](found), "version": step + 1}
    return found
