"""Example packages of plug-ins: a folder with code, tests and metadata, ready to install.

The files lie in ``example_packages/``; tokens such as ``@name@`` in them stand for what the new
package is called.
"""

from __future__ import annotations

import keyword
import re
from importlib import metadata
from pathlib import Path

from .errors import InputError, shown, unknown
from .files import replacing
from .names import name_problem

FOLDER = Path(__file__).parent / "example_packages"
KINDS = ("primitive", "operator", "loop", "study")
NAME = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")
LONGEST = 60  # characters of a name


def check_name(kind: str, name: str) -> None:
    """Refuse a name that cannot be a module, an entry point and a command-line word.

    Args:
        kind: ``primitive``, ``operator``, ``loop`` or ``study``.

    Raises:
        InputError: saying what a name may be.
    """
    if kind not in KINDS:
        raise unknown("kind of package", kind, KINDS)
    other, joint = ("_", "hyphens") if kind == "study" else ("-", "underscores")
    if not NAME.fullmatch(name) or other in name or len(name) > LONGEST or name_problem(name):
        raise InputError(
            f"a {kind} is named in a-z, 0-9 and single {joint}, from a letter on, not {shown(name)}"
        )
    if keyword.iskeyword(name):
        raise InputError(f"a {kind} cannot be named {name}, a word of Python")


def write_package(kind: str, name: str, folder: str | Path, force: bool = False) -> list[Path]:
    """Write an example package; return its files.

    Args:
        kind: ``primitive``, ``operator``, ``loop`` or ``study``.
        name: name that growloop will know the object by.
        folder: folder to write; it must not exist yet.
        force: replace the folder.

    Raises:
        InputError: a name that cannot be used, or a folder that exists.

    Example::

        write_package("operator", "repeat_first", "growloop-repeat-first")
    """
    check_name(kind, name)
    module = name.replace("-", "_")
    tokens = {
        "name": name,
        "package": f"growloop_{module}",
        "dist": f"growloop-{module.replace('_', '-')}",
        "Class": "".join(part.capitalize() for part in module.split("_")),
        "growloop": metadata.version("growloop"),
    }
    root = FOLDER / kind
    if Path(folder).exists() and not force:
        raise InputError(f"{folder} exists: give another --out, or --force to replace it")
    with replacing(folder, folder=True, force=force) as target:
        for source in sorted(root.rglob("*.in")):
            place = target / _place(source.relative_to(root), module)
            place.parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text(encoding="utf-8")
            for token, value in tokens.items():
                text = text.replace(f"@{token}@", value)
            place.write_text(text, encoding="utf-8")
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def _place(source: Path, module: str) -> Path:
    """Return where a file of an example lies in the new package."""
    names = {
        "package": f"growloop_{module}",
        "template.j2": f"{module}.j2",
        "task.yaml": f"{module}.yaml",
        "test.py": f"test_{module}.py",
    }
    parts = source.with_suffix("").parts  # without .in
    return Path(*(names.get(part, part) for part in parts))
