"""Lowest versions that pyproject.toml declares, as constraints for pip: ``python tests/floors.py``.

Printed are those of the package and all its extras but ``dev``, whose linters run in no test.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
OWN = "growloop"  # of a requirement that names other extras, as in "growloop[data]"
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)>=(?P<floor>\d+(\.\d+)*)(,<(?P<below>\d+(\.\d+)*))?")


def requirements(*extras: str) -> dict[str, str]:
    """Package -> its range, of the package itself and of extras with all they include.

    Raises:
        ValueError: a requirement that is not ``name>=floor`` or ``name>=floor,<below``, or two
            ranges for one package.
    """
    ranges: dict[str, str] = {}
    seen: set[str] = set()
    waiting = [PROJECT["dependencies"], *(EXTRAS[extra] for extra in extras)]
    while waiting:
        for line in waiting.pop():
            if line.startswith(f"{OWN}["):
                more = set(line.removeprefix(f"{OWN}[").rstrip("]").split(",")) - seen
                seen |= more
                waiting += [EXTRAS[extra] for extra in sorted(more)]
                continue
            parts = REQUIREMENT.fullmatch(line)
            if parts is None:
                raise ValueError(f"{line}: a requirement is name>=floor or name>=floor,<below")
            name, span = parts["name"], line.removeprefix(parts["name"])
            if ranges.setdefault(name, span) != span:
                raise ValueError(f"{name} has two ranges: {ranges[name]} and {span}")
    return ranges


def floors(*extras: str) -> dict[str, str]:
    """Package -> lowest version that its range allows."""
    return {
        name: span.split(",")[0].removeprefix(">=") for name, span in requirements(*extras).items()
    }


if __name__ == "__main__":
    for name, floor in sorted(floors("test").items()):
        print(f"{name}=={floor}")
